"""Pictures, charts and self-contained pages."""
