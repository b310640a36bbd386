"""Optimisation, distributed running, checkpoints and logs; knows nothing about RLBench."""
