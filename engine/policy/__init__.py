"""Policies: loaded from YAML with positions, checked like code, compiled once, and asked for every request. Pure."""
