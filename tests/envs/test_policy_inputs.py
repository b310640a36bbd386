"""From frames of environments to the observation that a policy expects."""

from __future__ import annotations

import numpy as np
import pytest

from sam2act.core.actions import Component
from sam2act.core.specs import CameraSpec, PolicySpec
from sam2act.core.types import ContractError, Frame
from sam2act.envs.policy_inputs import policy_observation

XY = Component("xy", 2, "m")


def spec(*sizes: int) -> PolicySpec:
    cameras = (CameraSpec(f"c{i}", side, side, depth=False) for i, side in enumerate(sizes))
    return PolicySpec(tuple(cameras), None, (XY,))


def frame(*sizes: int) -> Frame:
    images = {f"c{i}": np.full((side, side, 3), i, np.uint8) for i, side in enumerate(sizes)}
    return Frame(rgb=images, state={"xy": np.array([1.0, 2.0])})


def test_images_of_any_size_are_grouped_by_the_size_they_have() -> None:
    seen = policy_observation([frame(4, 6, 4)] * 2, spec(0, 0, 0), [0, 0])
    assert seen.cameras == ("c0", "c2") and seen.rgb.shape == (2, 2, 4, 4, 3)
    assert seen.others["c1"].rgb.shape == (2, 1, 6, 6, 3)
    assert seen.proprioception.tolist() == [[1, 2], [1, 2]]
    assert policy_observation([frame(4, 4)], spec(4, 4), [0]).others == {}


def test_a_camera_that_is_absent_is_named() -> None:
    with pytest.raises(ContractError, match="rgb: expected that of camera c1, .* gives c0"):
        policy_observation([frame(4)], spec(4, 4), [0])


def test_any_size_can_be_fixed() -> None:
    assert [camera.height for camera in spec(0, 8).sized(5).cameras] == [5, 8]
