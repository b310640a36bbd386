"""Recordings with UMI's hand-held grippers (Universal Manipulation Interface)."""
