"""RVT: one forward pass over five softly rendered views."""
