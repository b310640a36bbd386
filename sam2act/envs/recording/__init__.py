"""Writing demonstrations of any environment to disk."""
