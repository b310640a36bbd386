"""A session with transforms, and with a policy that takes no instruction."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sam2act.config.load import load_experiment
from sam2act.core.actions import ActionSpec, Component
from sam2act.core.registry import POLICIES
from sam2act.core.specs import CameraSpec, PolicySpec
from sam2act.core.types import ActionChunk, ContractError, Observation, SampleIdentity, WindowBatch
from sam2act.policies.base import NoState, Policy
from sam2act.policies.checkpoint import (
    CheckpointError,
    PolicyBundle,
    build_policy,
    config_extra,
    load_policy,
    save_checkpoint,
)
from sam2act.policies.hub_folder import write_hub_folder
from sam2act.policies.observations import random_observation
from sam2act.policies.session import PolicySession, trained_encoder

TEXTS = ("resize(6)", "normalise_actions", "normalise_state('mean_std')")


@dataclasses.dataclass(frozen=True)
class Config:
    policy: str = "mean_of_a_test"


class MeanPolicy(Policy):
    """Three actions: the mean colour of a 6 x 6 image and the state, as they come."""

    Config = Config
    spec = PolicySpec(
        (CameraSpec("top", 6, 6, depth=False),),
        language=None,
        state=(Component("height", 1, "m"),),
        action=ActionSpec("raw", (Component("move", 2, "m"),), horizon=3, rate=5.0),
    )

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    @classmethod
    def build(cls, config: Any, experiment: Any, options: Any) -> MeanPolicy:
        return cls()

    def act(self, observation: Observation, language: Tensor, state: NoState) -> Any:
        assert observation.rgb.shape[2:4] == (6, 6) and not language.any()
        colour = self.scale * observation.rgb.float().mean((1, 2, 3, 4), keepdim=False) / 255
        values = torch.stack([colour, observation.proprioception[:, 0]], -1)
        values = values[:, None].expand(-1, 3, -1)
        return ActionChunk(values, torch.ones(values.shape[:2], dtype=torch.bool), "raw"), state


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The policy under its name, for this test alone."""
    with POLICIES.temporarily(**{Config.policy: f"{__name__}:MeanPolicy"}):
        yield


def bundle(*texts: str) -> PolicyBundle:
    experiment = dataclasses.replace(load_experiment("configs/tiny.yaml"), transforms=texts)
    built = build_policy(experiment, Config())
    random = torch.Generator().manual_seed(0)
    samples = WindowBatch(
        instruction=torch.zeros(2, dtype=torch.int64),
        identities=tuple(SampleIdentity("task", i, 0, 1) for i in range(2)),
        observed=Observation(
            rgb=torch.zeros(2, 0, 0, 0, 3), proprioception=torch.tensor([[2.0], [4.0]])
        ),
        action=torch.tensor([[-0.3, 5.0], [0.1, 7.0]])[:, None].expand(2, 3, 2),
        valid=torch.rand(2, 3, generator=random) >= 0,
    )
    built.transforms.fit_all(lambda: [samples])
    return built


def seen(side: int, height: float) -> Observation:
    spec = dataclasses.replace(
        MeanPolicy.spec, camera_specs=(CameraSpec("top", side, side, False),)
    )
    shown = random_observation(spec, 2, torch.Generator().manual_seed(1))
    return dataclasses.replace(shown, proprioception=torch.full((2, 1), height))


def test_policy_without_instruction_acts_on_any_texts() -> None:
    session = PolicySession(bundle(), text_encoder=trained_encoder(bundle()))
    session.warm_up()
    chunk = session.act(seen(6, 0.5), ["go", "stop"])
    assert chunk.values.shape == (2, 3, 2) and (chunk.values[..., 1] == 0.5).all()
    with pytest.raises(ContractError, match="image_size is 6"):
        session.act(seen(9, 0.5), ["go", "stop"])


def test_session_sees_and_acts_through_the_transforms() -> None:
    session = PolicySession(bundle(*TEXTS))
    assert session.spec.image_size == 0
    session.warm_up()
    plain = PolicySession(bundle("resize(6)")).act(seen(18, 0.0), ["a", "b"])
    chunk = session.act(seen(18, 4.0), ["a", "b"])
    # Actions fill -0.3..0.1 and 5..7; heights have mean 3 and deviation 1.
    torch.testing.assert_close(chunk.values[..., 0], plain.values[..., 0] * 0.2 - 0.1)
    torch.testing.assert_close(chunk.values[..., 1], torch.full((2, 3), 7.0))


def test_a_checkpoint_keeps_the_statistics(tmp_path: Path) -> None:
    built, path = bundle(*TEXTS), tmp_path / "model_last.pth"
    content = {"model_state": built.model_state(), "extra": config_extra(built)}
    save_checkpoint(path, content)
    one, two = PolicySession(built), PolicySession.from_checkpoint(path)
    observation = seen(12, 1.0)
    assert torch.equal(
        one.act(observation, ["a", "b"]).values, two.act(observation, ["a", "b"]).values
    )
    write_hub_folder(tmp_path / "hub", built, "")
    three = PolicySession.from_checkpoint(tmp_path / "hub")
    assert torch.equal(
        one.act(observation, ["a", "b"]).values, three.act(observation, ["a", "b"]).values
    )
    del content["extra"]["transforms"]
    save_checkpoint(path, content)
    with pytest.raises(CheckpointError, match="holds no statistics .*normalise_state"):
        load_policy(path)


def test_without_transforms_a_checkpoint_says_nothing_of_them() -> None:
    assert set(config_extra(bundle())) == {"experiment", "network"}
