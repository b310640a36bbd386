"""Figures over runs: tables, intervals, comparisons, errors without a simulator."""
