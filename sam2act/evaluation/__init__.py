"""Measuring a policy: in closed loop in a simulator, and open loop on recorded demonstrations."""
