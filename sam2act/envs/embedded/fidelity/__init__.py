"""How far the embedded tasks agree with the facts of the published scenes, measured and stated."""
