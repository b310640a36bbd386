"""Pictures and self-contained pages; knows nothing about policies."""
