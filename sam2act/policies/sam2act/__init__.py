"""SAM2Act and, with its memory, SAM2Act+."""
