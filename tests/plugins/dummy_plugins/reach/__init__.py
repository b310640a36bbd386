"""Reaching in the plane: a policy, recorded episodes and an environment."""
