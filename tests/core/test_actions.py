"""Control modes: sizes, places of the components, units."""

from __future__ import annotations

import numpy as np
import pytest

from sam2act.core.actions import EE_DELTA, EE_POSE, KEYFRAME_POSE


def test_modes_have_their_sizes_and_rates() -> None:
    assert [spec.size for spec in (KEYFRAME_POSE, EE_POSE, EE_DELTA)] == [9, 8, 7]
    assert [spec.rate for spec in (KEYFRAME_POSE, EE_POSE, EE_DELTA)] == [None, 20.0, 20.0]


def test_components_say_their_units_and_frames() -> None:
    parts = {part.name: (part.unit, part.frame) for part in EE_DELTA.components}
    assert parts["translation"] == ("m", "world")
    assert parts["rotation_vector"] == ("rad", "world")
    assert parts["gripper"][1] == ""


def test_components_are_found_by_name() -> None:
    action = np.arange(8.0)
    assert action[EE_POSE.slice_of("quaternion")].tolist() == [3, 4, 5, 6]
    assert EE_DELTA.slice_of("gripper") == slice(6, 7)
    assert EE_POSE.has("position") and not EE_DELTA.has("position")
    with pytest.raises(KeyError, match="ee_delta has no component position"):
        EE_DELTA.slice_of("position")


@pytest.mark.parametrize(("value", "opened"), [(1.0, True), (0.6, True), (0.5, False)])
def test_gripper_opens_above_one_half(value: float, opened: bool) -> None:
    assert EE_DELTA.is_open(np.array([0.0] * 6 + [value])) is opened
