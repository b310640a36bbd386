"""Transforms of observations and actions that loader, session and server share."""
