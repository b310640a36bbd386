"""Processes, memory of the process, interruption."""
