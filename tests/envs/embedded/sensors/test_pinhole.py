"""Descriptions of cameras."""

from __future__ import annotations

import numpy as np

from sam2act.envs.embedded.sensors.pinhole import PinholeCamera


def test_intrinsics_have_negative_focal_lengths_that_scale_with_the_image() -> None:
    spec = PinholeCamera("front", np.eye(4), 90.0, 0.1, 1.0)
    assert np.allclose(spec.intrinsics(128), [[-64, 0, 64], [0, -64, 64], [0, 0, 1]])
    assert np.allclose(spec.intrinsics(64)[:2], spec.intrinsics(128)[:2] / 2)
