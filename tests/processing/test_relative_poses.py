"""Poses relative to the present one, and back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from sam2act.core.actions import EE_POSE_6D, Component
from sam2act.core.specs import PolicySpec, SpecError, square_cameras
from sam2act.core.types import ActionChunk, Observation, SampleIdentity, WindowBatch
from sam2act.data.pose_targets import pose_targets
from sam2act.processing.relative_poses import SEEN
from sam2act.processing.transforms import Transforms

SPEC = PolicySpec(
    square_cameras(("camera0",), 0, depth=False),
    language=None,
    state=tuple(Component(name, size, "") for name, size in SEEN.items()),
    action=dataclasses.replace(EE_POSE_6D, horizon=3, rate=20.0),
    offsets=(-4, 0, 4),
)
GENERATOR = np.random.default_rng(0)


def commands(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=(*shape, 7))


def windows() -> WindowBatch:
    """Two windows of three frames, the middle of which is the present; any poses."""
    state = np.concatenate([commands(2, 3), commands(2, 3)[..., :6]], axis=-1)
    actions = pose_targets(commands(6)).reshape(2, 3, 10)
    observed = Observation(
        rgb=torch.zeros(2, 3, 1, 4, 4, 3, dtype=torch.uint8),
        proprioception=torch.from_numpy(state).float(),
        cameras=("camera0",),
    )
    return WindowBatch(
        instruction=torch.zeros(2, dtype=torch.int64),
        identities=(SampleIdentity("cup", 0, 0, 1),) * 2,
        observed=observed,
        action=torch.from_numpy(actions).float(),
        valid=torch.ones(2, 3, dtype=torch.bool),
    )


def matrix(rows: Tensor) -> np.ndarray:
    return Rotation.from_rotvec(rows.double().numpy()).as_matrix()


def test_states_and_actions_are_those_of_the_present_frame() -> None:
    transforms, batch = Transforms(("relative_poses(0)",), SPEC), windows()
    assert [part.size for part in transforms.spec.state] == [3, 3, 1, 6]
    changed = transforms.batch(batch)
    assert isinstance(changed, WindowBatch)
    state, recorded = changed.observed.proprioception, batch.observed.proprioception
    assert state.shape == (2, 3, 16)
    now = matrix(recorded[0, 1, 3:6])
    for frame in range(3):
        away = (recorded[0, frame, :3] - recorded[0, 1, :3]).double().numpy()
        np.testing.assert_allclose(state[0, frame, :3], now.T @ away, atol=1e-5)
        turn = matrix(recorded[0, frame, 3:6])
        np.testing.assert_allclose(state[0, frame, 3:9], (now.T @ turn)[:2].ravel(), atol=1e-5)
        since = matrix(recorded[0, frame, 10:13]).T @ turn
        np.testing.assert_allclose(state[0, frame, 10:], since[:2].ravel(), atol=1e-5)
    assert torch.equal(state[..., 9], recorded[..., 6])
    np.testing.assert_allclose(state[:, 1, :9], [[0, 0, 0, 1, 0, 0, 0, 1, 0]] * 2, atol=1e-5)


def test_actions_come_back_to_the_frame_of_the_recording() -> None:
    transforms, batch = Transforms(("relative_poses",), SPEC), windows()
    changed = transforms.batch(batch, torch.tensor([1, 2]))
    assert isinstance(changed, WindowBatch)
    assert not torch.allclose(changed.action, batch.action, atol=0.1)
    seen = dataclasses.replace(
        batch.observed,
        rgb=batch.observed.rgb[:, :2],
        proprioception=batch.observed.proprioception[:, :2],
    )
    chunk = ActionChunk(changed.action, changed.valid, EE_POSE_6D.mode)
    torch.testing.assert_close(
        transforms.action_after(chunk, seen).values, batch.action, atol=1e-5, rtol=0
    )


def test_the_start_pose_is_uncertain_in_training_alone() -> None:
    transforms, batch = Transforms(("relative_poses",), SPEC), windows()

    def since_start(seeds: list[int] | None) -> Tensor:
        found = transforms.batch(batch, None if seeds is None else torch.tensor(seeds))
        assert isinstance(found, WindowBatch)
        return found.observed.proprioception[..., 10:]

    assert torch.equal(since_start(None), since_start(None))
    assert torch.equal(since_start([3, 4]), since_start([3, 4]))
    away = (since_start([3, 4]) - since_start(None)).abs()
    assert 0 < away.max() < 0.5
    acting = transforms.observation(batch.observed).proprioception[..., 10:]
    assert torch.equal(acting, since_start(None))


def test_policies_without_a_state_get_none() -> None:
    spec = dataclasses.replace(SPEC, state=())
    changed = Transforms(("relative_poses",), spec).batch(windows())
    assert isinstance(changed, WindowBatch)
    assert changed.observed.proprioception.shape == (2, 3, 0)


def test_other_policies_are_refused() -> None:
    raw = dataclasses.replace(SPEC.action, mode="raw")
    with pytest.raises(SpecError, match="is for actions of mode ee_pose_6d"):
        Transforms(("relative_poses",), dataclasses.replace(SPEC, action=raw))
    joints = (Component("joint_positions", 7, "rad"),)
    with pytest.raises(SpecError, match="the policy wants joint_positions of 7"):
        Transforms(("relative_poses",), dataclasses.replace(SPEC, state=joints))
