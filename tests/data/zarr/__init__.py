"""Tests of zarr stores."""
