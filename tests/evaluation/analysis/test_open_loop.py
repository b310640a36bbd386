"""Errors on recorded keyframes, computed for predictions that are known."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sam2act.core.types import KeyframeBatch, SampleIdentity
from sam2act.evaluation.analysis.open_loop import KeyframeDeviation, deviations, summarise
from sam2act.geometry.rotations import quaternion_from_euler_xyz

POSITION = torch.tensor([[0.1, 0.2, 1.0], [0.3, -0.1, 0.9]])
ROTATION = quaternion_from_euler_xyz(torch.tensor([[0.0, 0.0, 30.0], [10.0, 20.0, 30.0]])).float()
IDENTITIES = (SampleIdentity("open", 3, 0, 12), SampleIdentity("open", 3, 12, 17))


def recorded() -> KeyframeBatch:
    images = torch.zeros(2, 1, 2, 2, 3, dtype=torch.uint8)
    return KeyframeBatch(
        rgb=images,
        depth_code=images,
        depth_range=torch.ones(2, 1, 2),
        intrinsics=torch.eye(3).expand(2, 1, 3, 3),
        extrinsics=torch.eye(4).expand(2, 1, 4, 4),
        proprioception=torch.zeros(2, 4),
        instruction=torch.zeros(2, dtype=torch.int64),
        target_pose=torch.cat([POSITION, ROTATION], dim=1),
        gripper_open=torch.tensor([1, 0]),
        ignore_collisions=torch.tensor([0, 1]),
        identities=IDENTITIES,
    )


def errors_of(action: torch.Tensor, coarse_offset: torch.Tensor) -> list[KeyframeDeviation]:
    return deviations(action, POSITION + coarse_offset, recorded())


def perfect_action() -> torch.Tensor:
    return torch.cat([POSITION, ROTATION, torch.tensor([[1.0, 0.0], [0.0, 1.0]])], dim=1)


def test_perfect_prediction_has_no_error() -> None:
    for error, identity in zip(
        errors_of(perfect_action(), torch.zeros(3)), IDENTITIES, strict=True
    ):
        assert error.identity == identity
        figures = (error.translation_cm, error.coarse_translation_cm, error.rotation_degrees)
        assert figures == pytest.approx((0, 0, 0), abs=1e-4)
        assert error.gripper_correct is True and error.collision_correct is True


def test_known_errors() -> None:
    action = perfect_action()
    action[0, :3] += torch.tensor([0.03, 0.0, 0.04])  # 5 cm
    turned = quaternion_from_euler_xyz(torch.tensor([0.0, 0.0, 42.0]))
    action[0, 3:7] = -turned  # 12 degrees further; the sign of a quaternion means nothing
    action[1, 7] = 1.0
    action[0, 8] = 1.0
    first, second = errors_of(action, torch.tensor([0.0, 0.02, 0.0]))
    assert first.translation_cm == pytest.approx(5, abs=1e-4)
    assert first.coarse_translation_cm == pytest.approx(2, abs=1e-4)
    assert first.rotation_degrees == pytest.approx(12, abs=1e-3)
    assert (first.gripper_correct, first.collision_correct) == (True, False)
    assert second.translation_cm == pytest.approx(0, abs=1e-4)
    assert (second.gripper_correct, second.collision_correct) == (False, True)


def test_summary_takes_medians_and_rates() -> None:
    base = KeyframeDeviation(IDENTITIES[0], 1.0, 9.0, 10.0, True, True)
    errors = [
        base,
        dataclasses.replace(base, translation_cm=2.0, rotation_degrees=30.0),
        dataclasses.replace(base, translation_cm=100.0, gripper_correct=False),
        dataclasses.replace(base, translation_cm=4.0, gripper_correct=False),
    ]
    summary = summarise(errors)
    assert summary.count == 4
    assert summary.median_translation_cm == 3.0 and summary.median_rotation_degrees == 10.0
    assert summary.gripper_rate == 0.5 and summary.collision_rate == 1.0
    assert summarise(errors[:1]).median_translation_cm == 1.0


def test_nothing_to_summarise() -> None:
    with pytest.raises(ValueError, match="no keyframes"):
        summarise([])
