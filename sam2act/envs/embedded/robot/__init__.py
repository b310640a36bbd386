"""The arm: model, motion, planning."""
