"""Chunks of deltas that count from the measured pose, as poses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sam2act.core.actions import EE_DELTA, EE_POSE, ActionSpec
from sam2act.core.errors import ConfigError
from sam2act.core.specs import GRIPPER_OPEN, GRIPPER_POSE, PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, Instruction, Observation
from sam2act.data.rlbench.dense_actions import pose_actions
from sam2act.policies.executors import build_executor
from sam2act.policies.measured_base import summed_deltas


def motion(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Poses (count, 7) and openings of a motion that turns."""
    steps = np.linspace(0, 1, count)
    turns = Rotation.from_rotvec(steps[:, None] * [0.4, -0.9, 1.3]).as_quat()
    positions = np.stack([0.1 * steps, steps**2, 1 - steps], axis=1)
    return np.concatenate([positions, turns], axis=1), (steps < 0.5).astype(float)


def test_summed_deltas_are_the_poses_that_they_were_taken_from() -> None:
    poses, opening = motion(9)
    deltas = torch.from_numpy(pose_actions(poses, opening, "ee_delta"))[None]
    found = summed_deltas(torch.from_numpy(poses[:1]), deltas)[0].numpy()
    np.testing.assert_allclose(found[:, :3], poses[1:, :3], atol=1e-12)
    same = np.abs((found[:, 3:7] * poses[1:, 3:]).sum(1))
    np.testing.assert_allclose(same, 1, atol=1e-12)
    np.testing.assert_array_equal(found[:, 7], opening[1:])


class Deltas:
    """Moves by 1 cm along x per action, four of them at a time."""

    def __init__(self, action: ActionSpec = EE_DELTA, pose_seen: bool = True) -> None:
        state = (GRIPPER_OPEN, GRIPPER_POSE) if pose_seen else (GRIPPER_OPEN,)
        self.spec = PolicySpec(
            square_cameras(("front",), 4, depth=False),
            None,
            state=state,
            action=dataclasses.replace(action, horizon=4),
        )

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        pass

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        values = torch.zeros(len(observation), 4, 7)
        values[..., 0], values[..., 6] = 0.01, 1.0
        return ActionChunk(values, torch.ones(len(observation), 4, dtype=torch.bool), "ee_delta")


def seen_at(*x: float) -> Observation:
    state = torch.tensor([[1.0, place, 0, 0, 0, 0, 0, 1] for place in x])
    return Observation(torch.zeros(len(x), 1, 4, 4, 3, dtype=torch.uint8), proprioception=state)


def test_every_prediction_counts_from_where_the_gripper_is_seen_then() -> None:
    executor = build_executor("open_loop(k=2, base='measured')", Deltas())
    assert executor.policy.spec.action == dataclasses.replace(EE_POSE, horizon=4)
    places = []
    for x in (0.0, 0.004, 0.013, 0.017):  # the arm lags behind
        action = executor.act(seen_at(x, x + 1), ["", ""], [3, 7])
        assert action.space == "ee_pose" and action.values.shape == (2, 1, 8)
        places.append(action.values[:, 0, 0])
    expected = torch.tensor([0.01, 0.02, 0.023, 0.033])
    torch.testing.assert_close(torch.stack(places), torch.stack([expected, expected + 1], 1))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Deltas(EE_POSE), "for actions of mode ee_delta, and those of this policy are ee_pose"),
        (Deltas(pose_seen=False), "observes gripper_pose, and this one observes gripper_open"),
    ],
)
def test_policies_for_which_it_means_nothing_are_refused(policy: Deltas, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_executor("open_loop(k=2, base='measured')", policy)


def test_another_base_is_refused() -> None:
    with pytest.raises(ConfigError, match="commanded"):
        build_executor("open_loop(k=2, base='seen')", Deltas())
