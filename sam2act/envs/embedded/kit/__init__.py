"""What tasks are written in: scenes, parts, the workspace."""
