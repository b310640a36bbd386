"""Typed data at the borders of the policy: what goes in, what comes out.

Legend: B batch, K camera, H W camera image size, L language tokens, D token width.
Quaternions are (x, y, z, w). Poses are world frame: metres, then quaternion.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sam2act.core.errors import UserError
from sam2act.geometry.cameras import measured_depth
from sam2act.geometry.scene_bounds import SceneBounds

TIME_FEATURE_LENGTH = 25  # episode length in the time feature of training data
FINGER_RANGE = (0.0, 0.04)  # metres

# One instruction per environment: texts, or ready token features (B, L, lang_dim).
Instruction = Sequence[str] | Tensor


class ContractError(UserError):
    """Data breaks its contract; the message names the field, what was expected and what came."""


class SampleIdentity(NamedTuple):
    """Where a training sample comes from; named in error messages."""

    task: str
    episode: int
    frame: int  # observed frame
    target_frame: int  # keyframe to reach
    keyframe: int = -1  # its index among the keyframes of the demo; -1 = unknown


@dataclass(frozen=True)
class Observation:
    """What the cameras and the robot report, batched over environments or samples."""

    rgb: Tensor  # (B, K, H, W, 3) uint8
    depth: Tensor  # (B, K, H, W) metres, float64 or float32; 0 = nothing measured
    intrinsics: Tensor  # (B, K, 3, 3) float64
    extrinsics: Tensor  # (B, K, 4, 4) float64, T_world_from_camera
    proprioception: Tensor  # (B, 4) float32: gripper open, two finger joints, time feature
    cameras: tuple[str, ...] | None = None  # names of the K cameras; given names are checked

    def __len__(self) -> int:
        return len(self.rgb)

    def to(self, device: torch.device | str) -> Observation:
        """The same observation on `device`."""
        return move_tensors(self, device)

    def select(self, rows: Tensor) -> Observation:
        """The observations of the environments `rows` (indices), in that order."""
        return _map_tensors(self, lambda tensor: tensor[rows])

    @classmethod
    def join(cls, observations: Sequence[Observation]) -> Observation:
        """One observation of all environments of several.

        Raises:
            ContractError: nothing to join, or cameras that differ.
        """
        cameras = {observation.cameras for observation in observations}
        if len(cameras) != 1:
            found = ", ".join(sorted(map(str, cameras))) or "no observations"
            raise ContractError(
                f"cameras: expected the same names in all observations, got {found}"
            )
        names = [f.name for f in dataclasses.fields(cls) if f.name != "cameras"]
        joined = {name: torch.cat([getattr(o, name) for o in observations]) for name in names}
        return cls(**joined, cameras=cameras.pop())


@dataclass(frozen=True)
class KeyframeBatch:
    """Training samples as the data loader yields them; images still in their stored form."""

    rgb: Tensor  # (B, K, H, W, 3) uint8
    # (B, K, H, W, 3) uint8, 24-bit fixed point, high byte first; 0 = nothing measured
    depth_code: Tensor
    depth_range: Tensor  # (B, K, 2) float64: near, far in metres
    intrinsics: Tensor  # (B, K, 3, 3) float64
    extrinsics: Tensor  # (B, K, 4, 4) float64, T_world_from_camera
    proprioception: Tensor  # (B, 4) float32
    instruction: Tensor  # (B,) int64, row of the data set's list of instructions
    target_pose: Tensor  # (B, 7) float32
    gripper_open: Tensor  # (B,) int64, 1 = open
    ignore_collisions: Tensor  # (B,) int64, 1 = ignore
    identities: tuple[SampleIdentity, ...]

    def __len__(self) -> int:
        return len(self.rgb)

    def to(self, device: torch.device | str) -> KeyframeBatch:
        """The same batch on `device` (asynchronous from pinned memory)."""
        return move_tensors(self, device)

    def pin_memory(self) -> KeyframeBatch:
        """The same batch in page-locked memory (called by the data loader)."""
        return _map_tensors(self, Tensor.pin_memory)

    def observation(self) -> Observation:
        """The observation with decoded depth."""
        near, far = self.depth_range.unbind(-1)
        return Observation(
            rgb=self.rgb,
            depth=measured_depth(self.depth_code, near, far),
            intrinsics=self.intrinsics,
            extrinsics=self.extrinsics,
            proprioception=self.proprioception,
        )


@dataclass(frozen=True)
class ActionChunk:
    """A sequence of H actions per environment; H = 1 for keyframe policies."""

    values: (
        Tensor  # (B, H, A); keyframe_pose: position 3, quaternion 4, open 1, ignore collisions 1
    )
    valid: Tensor  # (B, H) bool; False where the policy saw no point of the workspace
    space: str = "keyframe_pose"


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs and what it gives; environments and data are set up from it."""

    cameras: tuple[str, ...]  # order of the cameras in every observation
    image_size: int  # side of the square camera images, pixels
    bounds: SceneBounds  # workspace, metres, world frame
    language_shape: tuple[int, int]  # (L, lang_dim) of one encoded instruction
    text_encoder: str = "clip"  # kind of encoder the policy was trained with: clip | hashed
    proprioception_size: int = 4
    episode_length: int = TIME_FEATURE_LENGTH  # of the time feature
    needs_depth: bool = True
    crop: bool = True  # points outside the bounds are not seen
    history: int = 1  # observations per call
    history_stride: int = 1
    past_keyframes: int = 0  # how many earlier keyframes the policy itself remembers
    action_space: str = "keyframe_pose"
    chunk_length: int = 1
    stochastic: bool = False


class Policy(Protocol):
    """What an executor or evaluator needs of a policy; environments are named by ids."""

    @property
    def spec(self) -> PolicySpec:
        """What the policy needs and gives."""
        ...

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start new episodes in `env_ids` (None: in all)."""
        ...

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        """The next actions of `env_ids` (None: 0, 1, ..., B - 1), one row each."""
        ...


def time_feature(time_index: int, length: int = TIME_FEATURE_LENGTH) -> float:
    """1 at the start of an episode, falling linearly to -1 at step `length - 1`."""
    return (1.0 - time_index / float(length - 1)) * 2.0 - 1.0


def proprioception(
    gripper_open: float,
    finger_joints: np.ndarray | Sequence[float],
    time_index: int,
    length: int = TIME_FEATURE_LENGTH,
) -> np.ndarray:
    """What the robot reports of itself, the same in training and evaluation.

    Args:
        gripper_open: 1 = open, 0 = closed.
        finger_joints: positions of the two fingers in metres, clipped to 0..0.04.
        time_index: keyframes executed since the start of the episode.
        length: trained episode length, whatever the evaluation allows.

    Returns:
        (4,) float32: gripper open, two finger joints, time feature.
    """
    fingers = np.clip(finger_joints, *FINGER_RANGE)
    return np.array([gripper_open, *fingers, time_feature(time_index, length)], dtype=np.float32)


@dataclass(frozen=True)
class LossOutput:
    """The loss to differentiate, its named terms (detached scalars) and the excess per sample.

    The excess is the part of the coarse heat maps' loss that a perfect prediction would not have,
    mean over the views that show the target: (B,) detached, NaN where none does.
    """

    total: Tensor
    terms: dict[str, Tensor]
    excess: Tensor | None = None  # None: the policy does not tell


def _map_tensors(data, function):
    changed = {
        item.name: function(value)
        for item in dataclasses.fields(data)
        if isinstance(value := getattr(data, item.name), Tensor)
    }
    return dataclasses.replace(data, **changed)


def move_tensors(data, device: torch.device | str):
    """A copy of dataclass `data` with every tensor on `device`."""
    return _map_tensors(data, lambda tensor: tensor.to(device, non_blocking=True))


def environment_ids(env_ids: Sequence[int] | None, batch: int) -> list[int]:
    """One id per row of a batch; None means 0, 1, ..., B - 1.

    Raises:
        ContractError: not one whole number per row, or an id twice.
    """
    if env_ids is None:
        return list(range(batch))
    try:
        ids = [operator.index(env_id) for env_id in env_ids]
    except TypeError as error:
        raise ContractError(f"env_ids: expected whole numbers, got {list(env_ids)}") from error
    if len(ids) != batch or len(set(ids)) != batch:
        raise ContractError(f"env_ids: expected {batch} different ids, one per row, got {ids}")
    return ids
