"""Released replay folders."""
