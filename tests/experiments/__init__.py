"""Tests of sam2act/experiments."""
