"""Instruction encoders and their cache."""
