"""Cameras and what a policy is shown."""
