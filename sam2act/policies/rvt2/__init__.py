"""RVT-2: two stages without an image encoder."""
