"""Limits of targets: the box, the step, the turn; refusing and clipping; episodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sam2act.core.actions import EE_DELTA, EE_POSE_6D, KEYFRAME_POSE
from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, Observation
from sam2act.policies.executors import build_executor
from sam2act.policies.safety import SafeSession, SafetyError, SafetyLimits

BOX = (-0.5, -0.5, 0.0, 0.5, 0.5, 1.0)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
TURNED = (0.0, 0.0, 2**-0.5, 2**-0.5)  # 90 degrees about z


class Script:
    """Gives prepared targets, the same in all environments."""

    spec = PolicySpec(square_cameras(["front"], 8, depth=True), None)

    def __init__(self, *targets) -> None:
        self.targets = list(targets)
        self.restarted = []

    def reset(self, env_ids=None) -> None:
        self.restarted.append(env_ids)

    def act(self, observation, language, env_ids=None) -> ActionChunk:
        values = torch.tensor([*self.targets.pop(0), 1.0, 0.0], dtype=torch.float32)
        count = len(observation)
        return ActionChunk(values.repeat(count, 1, 1), torch.ones(count, 1, dtype=torch.bool))


SEEN = Observation(torch.zeros(1, 1, 8, 8, 3, dtype=torch.uint8))


def test_actions_within_the_limits_stay_to_the_last_bit() -> None:
    target = (0.1, 0.2, 0.3, *UPRIGHT)
    session = SafeSession(Script(target, target), SafetyLimits(BOX, 0.1, 10))
    for _ in range(2):
        chunk = session.act(SEEN, ["go"])
        assert chunk.values[0, 0].tolist() == torch.tensor([*target, 1.0, 0.0]).tolist()
    assert session.changes == []


def test_a_target_outside_the_box_is_refused_or_brought_to_its_edge() -> None:
    target = (0.1, 0.9, -0.2, *UPRIGHT)
    with pytest.raises(SafetyError, match=r"environment 0, action 0: y = 0.900 m is outside"):
        SafeSession(Script(target), SafetyLimits(BOX)).act(SEEN, ["go"])
    session = SafeSession(Script(target), SafetyLimits(BOX, beyond="clip"))
    moved = session.act(SEEN, ["go"]).values[0, 0, :3]
    assert torch.allclose(moved, torch.tensor([0.1, 0.5, 0.0]))
    assert len(session.changes) == 2 and "z = -0.200 m" in session.changes[1]


def test_what_is_no_number_is_never_commanded() -> None:
    target = (0.1, float("nan"), 0.2, *UPRIGHT)
    with pytest.raises(SafetyError, match="action 0: is not finite"):
        SafeSession(Script(target), SafetyLimits(BOX, beyond="clip")).act(SEEN, ["go"])


def test_a_long_step_and_a_large_turn_are_shortened() -> None:
    limits = SafetyLimits(step=0.1, turn=30, beyond="clip")
    session = SafeSession(Script((0.3, 0.4, 0.0, *TURNED)), limits)
    session.gripper_at(np.array([0, 0, 0, *UPRIGHT]))
    action = session.act(SEEN, ["go"]).values[0, 0]
    assert torch.allclose(action[:3], torch.tensor([0.06, 0.08, 0.0]))
    half = np.radians(15)
    assert torch.allclose(action[5:7].double(), torch.tensor([np.sin(half), np.cos(half)]))
    assert action[7:].tolist() == [1.0, 0.0]


def test_steps_are_counted_per_environment_and_episode() -> None:
    near, far = (0.0, 0.0, 0.1, *UPRIGHT), (0.0, 0.0, 0.9, *UPRIGHT)
    script = Script(near, far, far, near)
    session = SafeSession(script, SafetyLimits(BOX, step=0.2))
    session.act(SEEN, ["go"], [4])
    session.act(SEEN, ["go"], [5])  # another environment, its first target
    with pytest.raises(SafetyError, match="environment 4, action 0: a step of 0.800 m"):
        session.act(SEEN, ["go"], [4])
    session.reset([5])
    assert script.restarted == [[5]]
    session.act(SEEN, ["go"], [5])  # a new episode may begin anywhere


class Rows(Script):
    """Gives rotations as the first two rows of their matrix."""

    spec = replace(Script.spec, action=EE_POSE_6D)

    def act(self, observation, language, env_ids=None) -> ActionChunk:
        values = torch.tensor([[self.targets.pop(0)]])
        return ActionChunk(values, torch.ones(1, 1, dtype=torch.bool), EE_POSE_6D.mode)


def test_rotations_of_six_numbers_have_limits_too() -> None:
    quarter = [0.1, 0.2, 0.3, *(0.0, -1.0, 0.0), *(1.0, 0.0, 0.0), 0.07]
    near = SafeSession(Rows(quarter), SafetyLimits(BOX, turn=91))
    near.gripper_at(np.array([0, 0, 0, *UPRIGHT]))
    assert torch.equal(near.act(SEEN, ["go"]).values[0, 0], torch.tensor(quarter))
    session = SafeSession(Rows(quarter), SafetyLimits(turn=30, beyond="clip"))
    session.gripper_at(np.array([0, 0, 0, *UPRIGHT]))
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    rows = [cosine, -sine, 0.0, sine, cosine, 0.0]
    expected = torch.tensor([0.1, 0.2, 0.3, *rows, 0.07], dtype=torch.float32)
    torch.testing.assert_close(session.act(SEEN, ["go"]).values[0, 0], expected)
    broken = [0.1, 0.2, 0.3, float("nan"), *quarter[4:]]
    with pytest.raises(SafetyError, match="is not finite"):
        SafeSession(Rows(broken), SafetyLimits(beyond="clip")).act(SEEN, ["go"])


class Chunks(Script):
    """Moves along x; the third target is outside the box."""

    def act(self, observation, language, env_ids=None) -> ActionChunk:
        places = torch.tensor([0.1, 0.2, 5.0])
        rest = torch.tensor([0.0, 0.5, *UPRIGHT, 1.0, 0.0]).repeat(3, 1)
        values = torch.cat([places[:, None], rest], dim=1)[None]
        return ActionChunk(values, torch.ones(1, 3, dtype=torch.bool))


def test_around_an_executor_only_what_is_executed_is_watched() -> None:
    executor = build_executor("open_loop(2)", Chunks())
    session = SafeSession(executor, SafetyLimits(BOX, step=0.15))
    found = [float(session.act(SEEN, ["go"]).values[0, 0, 0]) for _ in range(4)]
    assert found == pytest.approx([0.1, 0.2, 0.1, 0.2])
    with pytest.raises(SafetyError, match="action 2: x = 5.000 m is outside"):
        SafeSession(Chunks(), SafetyLimits(BOX)).act(SEEN, ["go"])


def test_impossible_limits_and_policies_without_poses_are_refused() -> None:
    with pytest.raises(ConfigError, match="box: .* is empty"):
        SafetyLimits((0, 0, 0, 1, -1, 1))
    with pytest.raises(ConfigError, match="step: must be positive"):
        SafetyLimits(step=0.0)
    script = Script()
    script.spec = replace(script.spec, action=EE_DELTA)
    with pytest.raises(SafetyError, match="mode ee_delta"):
        SafeSession(script, SafetyLimits())
    assert KEYFRAME_POSE.size == 9
