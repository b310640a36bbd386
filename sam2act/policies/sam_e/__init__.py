"""SAM-E: one forward pass with SAM's image encoder predicts a sequence of keyframes."""
