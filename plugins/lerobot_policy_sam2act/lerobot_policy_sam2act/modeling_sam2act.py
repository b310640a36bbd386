"""A policy of sam2act behind LeRobot's interface, with a memory per row of the batch.

LeRobot's `reset()` names no environment. The rule here: row i of every batch is environment i; a
row starts an episode after `reset()`, and when `is_first` of that row is set, as
`observation.is_first` or in `observation.robot_state`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from lerobot_policy_sam2act.configuration_sam2act import SAM2ActConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import from_dict, network_from_dict
from sam2act.core.errors import UserError
from sam2act.core.frames import Frame
from sam2act.envs.recorded import RECORDED_STATE
from sam2act.evaluation.actors import PolicyActor, Turn
from sam2act.evaluation.scenes import EpisodeStart
from sam2act.policies.checkpoint import build_policy, load_transforms, read_checkpoint
from sam2act.policies.executors import build_executor
from sam2act.policies.hub_folder import write_hub_weights
from sam2act.policies.session import PolicySession, trained_encoder

IMAGES = "observation.images."
STATE = "observation.state"
ROBOT_STATE = "observation.robot_state"
IS_FIRST = "is_first"
GEOMETRY = ("depth", "intrinsics", "extrinsics")


class SAM2ActPolicy(PreTrainedPolicy):
    """See the module; `network` is the policy of sam2act."""

    config_class = SAM2ActConfig
    name = "sam2act"

    def __init__(self, config: SAM2ActConfig, **_: Any) -> None:
        super().__init__(config)
        config.validate_features()
        self._bundle = build_policy(
            from_dict(ExperimentConfig, config.experiment), network_from_dict(config.network)
        )
        self._bundle.stage, self._bundle.step = config.stage, config.step
        self.network = self._bundle.policy
        self._actor: PolicyActor | None = None
        self._steps: dict[int, int] = {}  # row -> actions of its episode so far

    # ------------------------------------------------------------------------------- acting
    def reset(self) -> None:
        """All rows start episodes."""
        self._steps = {}

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, A): the next action of every row.

        Args:
            batch: `observation.images.<camera>` (B, 3, H, W) in 0..1, `observation.state` (B, 17),
                `task` (B texts), `depth`, `intrinsics` and `extrinsics` per camera.

        Raises:
            ContractError: something that the policy wants is absent.
        """
        actor = self._acting()
        frames = list(frames_of(batch))
        first = first_rows(batch, len(frames))
        for row in range(len(frames)):
            if first[row] or row not in self._steps:
                actor.begin(row, EpisodeStart("", row))
                self._steps[row] = 0
        texts = batch.get("task") or [""] * len(frames)
        turns = [Turn(i, frame, texts[i], self._steps[i]) for i, frame in enumerate(frames)]
        actions = np.stack([np.asarray(action) for action in actor.act(turns)])
        for row in range(len(frames)):
            self._steps[row] += 1
        return torch.from_numpy(actions).float().to(self.config.device)

    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, 1, A): the action of `select_action`; memories take up the observation."""
        return self.select_action(batch)[:, None]

    def _acting(self) -> PolicyActor:
        if self._actor is None:
            session = PolicySession(
                self._bundle,
                batch_size=self.config.rows_per_pass,
                text_encoder=trained_encoder(self._bundle),
            )
            spec = session.spec.sized(self._bundle.experiment.image_size)
            self._actor = PolicyActor(build_executor(spec.executor, session), spec)
        return self._actor

    # ----------------------------------------------------------------------------- training
    def get_optim_params(self) -> list[dict[str, Any]]:
        """Trainable parameters."""
        return [{"params": group["params"]} for group in self.network.parameter_groups()]

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any] | None]:
        """Not offered.

        Raises:
            UserError: always; the message says how to train.
        """
        raise UserError(
            "lerobot-train cannot train sam2act: its batches lack keyframes, depth codes and "
            "windows; use `sam2act train`, then `sam2act export`"
        )

    # -------------------------------------------------------------------------------- files
    def _save_pretrained(self, save_directory: Path) -> None:
        self.config._save_pretrained(save_directory)
        write_hub_weights(Path(save_directory), self._bundle)

    @classmethod
    def _load_as_safetensor(
        cls, model: SAM2ActPolicy, model_file: str, map_location: str, strict: bool
    ) -> SAM2ActPolicy:
        """Every tensor must be there, whatever `strict` says."""
        content = read_checkpoint(model_file)
        model.network.weight_adapter.load(content["model_state"])
        load_transforms(model._bundle, content, model_file)
        model.network.check_weights()
        return model.to(map_location)


# ------------------------------------------------------------------------------------- batches
def frames_of(batch: Mapping[str, Any]) -> Iterator[Frame]:
    """Every row of a batch of LeRobot as a frame."""
    images = {
        key.removeprefix(IMAGES): _pixels(value)
        for key, value in batch.items()
        if key.startswith(IMAGES)
    }
    geometry = {kind: _geometry(batch, kind) for kind in GEOMETRY}
    state = batch[STATE].double().cpu().numpy()
    for row in range(len(state)):
        yield Frame(
            rgb={camera: values[row] for camera, values in images.items()},
            state=_named(state[row]),
            **{
                kind: {camera: value[row] for camera, value in cameras.items()}
                for kind, cameras in geometry.items()
            },
        )


def first_rows(batch: Mapping[str, Any], count: int) -> list[bool]:
    """Which rows say that their episode begins; none where the batch does not say."""
    flags = batch.get(f"observation.{IS_FIRST}", batch.get(ROBOT_STATE, {}).get(IS_FIRST))
    if flags is None:
        return [False] * count
    return [bool(flag) for flag in flags.reshape(count, -1).any(dim=1)]


def _pixels(images: Tensor) -> np.ndarray:
    """(B, H, W, 3) uint8 of (B, 3, H, W) in 0..1, which LeRobot made of the same bytes."""
    return (images.cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _geometry(batch: Mapping[str, Any], kind: str) -> dict[str, np.ndarray]:
    """By camera: nested in the state of the robot, or under `observation.<kind>.<camera>`."""
    prefix = f"observation.{kind}."
    found = dict(batch.get(ROBOT_STATE, {}).get(kind, {}))
    found |= {key.removeprefix(prefix): v for key, v in batch.items() if key.startswith(prefix)}
    return {camera: value.cpu().numpy() for camera, value in found.items()}


def _named(state: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of a robot state (17,) by name."""
    ends = np.cumsum([part.size for part in RECORDED_STATE])
    parts = np.split(state, ends[:-1])
    return {part.name: values for part, values in zip(RECORDED_STATE, parts, strict=True)}
