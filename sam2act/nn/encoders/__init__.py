"""Plain vision transformers as image encoders, and the public forms of their weights."""
