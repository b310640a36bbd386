"""Experiments over presets, tasks and seeds, made of the ordinary commands."""
