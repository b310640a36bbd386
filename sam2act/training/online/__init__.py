"""Training of policies that learn by acting: what they did, and the loop."""
