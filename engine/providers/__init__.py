"""Dispatch's other half: the way to the providers, their keys, their health, their prices, and the simulated one."""
