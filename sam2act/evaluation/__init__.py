"""Measuring a policy: open loop on recorded demonstrations."""
