"""DeepMind Control from pixels, with the levels of the DMControl generalisation benchmark."""
