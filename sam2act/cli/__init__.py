"""The commands: they parse, build and run."""
