"""Recorded demonstrations in RLBench's layout."""
