"""SAM-G: masks of the objects that matter, found by correspondence with one reference image."""
