"""The agent for YARR's rollouts, driven as YARR's rollout generator drives it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2act.core.specs import LanguageSpec, PolicySpec, square_cameras
from sam2act.core.types import (
    ActionChunk,
    ContractError,
    Instruction,
    Observation,
)
from sam2act.envs.rlbench import versions
from sam2act.envs.rlbench.yarr_agent import YarrAgent, policy_observation
from sam2act.geometry.cameras import unproject
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.observations import validate_observation

CAMERAS = ("front", "wrist")
SIZE = 8
SPEC = PolicySpec(
    square_cameras(CAMERAS, SIZE, depth=True),
    LanguageSpec("clip", 77, 512),
    bounds=SceneBounds.from_sequence((-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)),
)


class RecordingPolicy:
    """Answers with the number of the call; what it was given is kept."""

    spec = SPEC

    def __init__(self) -> None:
        self.calls: list[tuple[Observation, Instruction]] = []
        self.resets = 0

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        self.resets += 1

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        validate_observation(observation, self.spec, language)
        self.calls.append((observation, language))
        values = torch.arange(9, dtype=torch.float64) + 100 * len(self.calls)
        return ActionChunk(values.reshape(1, 1, 9), torch.ones(1, 1, dtype=torch.bool))


def camera(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Depth (S, S), intrinsics with RLBench's negative focal lengths, a pose."""
    generator = torch.Generator().manual_seed(seed)
    depth = 0.5 + 2 * torch.rand(SIZE, SIZE, generator=generator, dtype=torch.float64)
    intrinsics = torch.tensor([[-11.0, 0, 4], [0, -11, 4], [0, 0, 1]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=pose.dtype)).Q
    if torch.linalg.det(pose[:3, :3]) < 0:
        pose[:3, 0] *= -1
    pose[:3, 3] = SPEC.bounds.center(pose) - 1.5 * pose[:3, 2]  # looks at the workspace
    return depth, intrinsics, pose


@pytest.fixture
def yarr_observation() -> dict[str, Tensor]:
    """As YARR's rollout generator prepares it: one environment, one moment, channels first."""
    observation = {}
    for number, name in enumerate(CAMERAS):
        depth, intrinsics, pose = camera(number)
        cloud = unproject(depth, intrinsics, pose).permute(2, 0, 1)
        colors = torch.arange(3 * SIZE * SIZE).reshape(3, SIZE, SIZE) + number
        observation[f"{name}_rgb"] = (colors % 256).to(torch.uint8)
        observation[f"{name}_point_cloud"] = cloud
        observation[f"{name}_camera_extrinsics"] = pose.float()
        observation[f"{name}_camera_intrinsics"] = intrinsics.float()
    observation["low_dim_state"] = torch.tensor([1.0, 0.04, 0.03, 0.5])
    observation["ignore_collisions"] = torch.tensor([1.0])
    observation["lang_goal_tokens"] = torch.arange(77)
    return {name: value[None, None] for name, value in observation.items()}


def read_tokens(tokens: Tensor) -> list[str]:
    assert tokens.shape == (1, 77) and tokens.dtype == torch.int64
    return [f"tokens up to {int(tokens.max())}"]


@pytest.fixture
def agent(stand_ins: Path) -> YarrAgent:
    return YarrAgent(RecordingPolicy(), read_tokens)


# ------------------------------------------------------------------------------ observations
def test_depth_of_the_clouds_gives_the_clouds_back(yarr_observation: dict[str, Tensor]) -> None:
    observation = policy_observation(yarr_observation, CAMERAS)
    for number, name in enumerate(CAMERAS):
        depth, *_ = camera(number)
        assert torch.allclose(observation.depth[0, number], depth, atol=1e-6)
        cloud = unproject(
            observation.depth[0, number],
            observation.intrinsics[0, number],
            observation.extrinsics[0, number],
        )
        expected = yarr_observation[f"{name}_point_cloud"][0, 0].permute(1, 2, 0)
        assert torch.allclose(cloud, expected, atol=1e-5)


def test_colours_and_state_are_taken_as_they_are(yarr_observation: dict[str, Tensor]) -> None:
    observation = policy_observation(yarr_observation, CAMERAS[::-1])
    assert observation.cameras == ("wrist", "front")
    assert observation.rgb.shape == (1, 2, SIZE, SIZE, 3) and observation.rgb.dtype == torch.uint8
    assert observation.rgb[0, 1, 2, 5, 1] == SIZE * SIZE + 2 * SIZE + 5
    assert torch.equal(observation.proprioception, torch.tensor([[1.0, 0.04, 0.03, 0.5]]))


def test_colours_may_be_floats_and_arrays(yarr_observation: dict[str, Any]) -> None:
    whole = policy_observation(yarr_observation, CAMERAS)
    floats = {name: np.asarray(value, np.float32) for name, value in yarr_observation.items()}
    assert torch.equal(policy_observation(floats, CAMERAS).rgb, whole.rgb)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: o.pop("wrist_rgb"), "wrist_rgb: missing"),
        (lambda o: o.update(front_rgb=o["front_rgb"] / 255), "front_rgb.*whole numbers"),
        (lambda o: o.update(front_rgb=o["front_rgb"].float() - 9), "front_rgb.*-9"),
        (lambda o: o.update(front_rgb=o["front_rgb"].movedim(2, -1)), r"front_rgb.*\(1, 1, 3, H"),
        (lambda o: o.update(low_dim_state=o["low_dim_state"][..., :3]), r"low_dim_state.*1, 3\)"),
        (lambda o: o.update(low_dim_state=o["low_dim_state"].repeat(1, 2, 1)), "timesteps=1"),
        (lambda o: o.update(low_dim_state=o["low_dim_state"].repeat(2, 1, 1)), "one environment"),
    ],
)
def test_malformed_observation_is_named(
    yarr_observation: dict[str, Tensor], change: Any, message: str
) -> None:
    change(yarr_observation)
    with pytest.raises(ContractError, match=message):
        policy_observation(yarr_observation, CAMERAS)


# ----------------------------------------------------------------------------------- rollout
def test_rollout_acts_with_the_policy(agent: YarrAgent, yarr_observation: dict) -> None:
    from yarr.agents.agent import ActResult

    agent.build(training=False, device=torch.device("cpu"))
    agent.reset()
    for number in (1, 2):
        result = agent.act(60_000, yarr_observation, deterministic=True)
        assert isinstance(result, ActResult)
        assert np.array_equal(result.action, np.arange(9) + 100 * number)
        assert (result.observation_elements, result.replay_elements) == ({}, {})
    policy = agent._policy
    assert isinstance(policy, RecordingPolicy) and policy.resets == 1
    assert [language for _, language in policy.calls] == [["tokens up to 76"]] * 2


def test_instruction_is_read_again_when_it_changes(stand_ins: Path, yarr_observation: dict) -> None:
    seen = []

    def read(tokens: Tensor) -> Tensor:
        seen.append(int(tokens.sum()))
        return torch.zeros(1, 77, 512)

    agent = YarrAgent(RecordingPolicy(), read)
    for shift in (0, 0, 1, 0):
        tokens = yarr_observation["lang_goal_tokens"] + shift
        agent.act(0, yarr_observation | {"lang_goal_tokens": tokens}, True)
    assert seen == [2926, 3003, 2926]


def test_weights_come_from_the_given_loader(stand_ins: Path, yarr_observation: dict) -> None:
    other, paths = RecordingPolicy(), []

    def load(path: str) -> RecordingPolicy:
        paths.append(path)
        return other

    agent = YarrAgent(RecordingPolicy(), read_tokens, load_policy=load)
    agent.load_weights("runs/model_last.pth")
    agent.act(0, yarr_observation, True)
    assert paths == ["runs/model_last.pth"] and len(other.calls) == 1


def test_learning_is_refused(agent: YarrAgent) -> None:
    for call in (
        lambda: agent.build(training=True),
        lambda: agent.update(0, {}),
        lambda: agent.save_weights("folder"),
        lambda: agent.load_weights("folder"),
    ):
        with pytest.raises(NotImplementedError):
            call()
    assert agent.update_summaries() == agent.act_summaries() == []


def test_missing_yarr_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "find_spec", lambda name: None)
    with pytest.raises(versions.MissingSimulatorError, match="package yarr"):
        YarrAgent(RecordingPolicy(), read_tokens)
