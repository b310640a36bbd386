"""Tests of LeRobot data sets."""
