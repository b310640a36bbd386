"""DrQ-v2, reinforcement learning from pixels, with the random overlay of SVEA as an option."""
