"""Simulators behind one interface; the only place that may import one, inside functions."""
