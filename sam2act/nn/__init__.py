"""Layers that several policies share; they compute no losses and read no files but weights."""
