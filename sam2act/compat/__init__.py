"""Work-arounds for third-party packages and for terminals."""
