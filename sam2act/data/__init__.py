"""Demonstrations on disk -> keyframes -> frame store -> batches."""
