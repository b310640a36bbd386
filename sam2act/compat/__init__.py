"""Work-arounds for third-party packages."""
