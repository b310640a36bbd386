"""Factors that change how a scene looks."""
