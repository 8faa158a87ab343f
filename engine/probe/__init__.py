"""A scripted tool-call exam for a live model, through our own wires: may an agent depend on it?"""
