"""Policies by name, acting with them, checkpoints."""
