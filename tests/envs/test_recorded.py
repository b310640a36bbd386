"""Which recorded demos fit an environment."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sam2act.data.rlbench.types import Demo
from sam2act.envs.recorded import check_origin


def recorded(**origin: object) -> Demo:
    return Demo([SimpleNamespace(misc=origin)])  # type: ignore[list-item]


def test_a_perturbed_demo_is_refused_with_the_flag_that_helps() -> None:
    demo = recorded(perturbations=["table_color", "camera_pose"])
    with pytest.raises(ValueError, match="restored here; --perturb table_color camera_pose pert"):
        check_origin(demo, {"perturbations": []})
    check_origin(demo, {"perturbations": ["table_color", "camera_pose"]})


def test_nothing_helps_against_another_task() -> None:
    with pytest.raises(ValueError, match="with task lift, .* has reach: .* restored here$"):
        check_origin(recorded(task="lift"), {"task": "reach"})
