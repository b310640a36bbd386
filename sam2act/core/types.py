"""Typed data at the borders of the policy: what goes in, what comes out.

Legend: B batch, K camera, H W camera image size, L language tokens, D token width.
Quaternions are (x, y, z, w). Poses are world frame: metres, then quaternion.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from sam2act.core.frames import (
    FINGER_RANGE as FINGER_RANGE,
)
from sam2act.core.frames import (
    ContractError as ContractError,
)
from sam2act.core.frames import (
    Frame as Frame,
)
from sam2act.core.frames import (
    HasFrame as HasFrame,
)
from sam2act.core.frames import (
    proprioception as proprioception,
)
from sam2act.core.frames import (
    state_rows as state_rows,
)
from sam2act.core.frames import (
    time_feature as time_feature,
)
from sam2act.core.specs import PolicySpec
from sam2act.geometry.cameras import measured_depth

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# One instruction per environment: texts, or ready token features (B, L, lang_dim).
Instruction = Sequence[str] | Tensor


class SampleIdentity(NamedTuple):
    """Where a training sample comes from; named in error messages."""

    task: str
    episode: int
    frame: int  # observed frame
    target_frame: int  # keyframe to reach
    keyframe: int = -1  # its index among the keyframes of the demo; -1 = unknown


class Geometry(NamedTuple):
    """Depth images and camera matrices, from which the points of the world are computed."""

    depth: Tensor  # (B, K, H, W) metres; 0 = nothing measured
    intrinsics: Tensor  # (B, K, 3, 3) float64
    extrinsics: Tensor  # (B, K, 4, 4) float64, T_world_from_camera


@dataclass(frozen=True)
class Observation:
    """What the cameras and the robot report, batched over environments or samples.

    With a time axis of T frames, oldest first, it follows the batch axis everywhere: rgb
    (B, T, K, H, W, 3), proprioception (B, T, P). Only rgb and the state must be there.
    """

    rgb: Tensor  # (B, K, H, W, 3) uint8
    depth: Tensor | None = None  # (B, K, H, W) metres, floating; 0 = nothing measured
    intrinsics: Tensor | None = None  # (B, K, 3, 3) float64
    extrinsics: Tensor | None = None  # (B, K, 4, 4) float64, T_world_from_camera
    # (B, P) float32: the parts of `PolicySpec.state`
    proprioception: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    cameras: tuple[str, ...] | None = None  # names of the K cameras; given names are checked
    mask: Tensor | None = None  # (B, K, H, W) integers, one per object
    # Cameras whose images have another size, by name: observations of one camera and no state.
    others: Mapping[str, Observation] = field(default_factory=dict)

    @property
    def geometry(self) -> Geometry:
        """Depth and matrices of all cameras.

        Raises:
            ContractError: they are not all there.
        """
        return Geometry(
            _observed("depth", self.depth),
            _observed("intrinsics", self.intrinsics),
            _observed("extrinsics", self.extrinsics),
        )

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
        first = observations[0]
        return cls(
            **{name: torch.cat([getattr(o, name) for o in observations]) for name in _given(first)},
            cameras=cameras.pop(),
            others={
                name: cls.join([observation.others[name] for observation in observations])
                for name in first.others
            },
        )


SomeBatch = TypeVar("SomeBatch", bound="Batch")


@dataclass(frozen=True)
class Batch:
    """Training samples as the data loader yields them; what the trainer knows of them."""

    instruction: Tensor  # (B,) int64, row of the data set's list of instructions
    identities: tuple[SampleIdentity, ...]

    def __len__(self) -> int:
        return len(self.identities)

    def to(self: SomeBatch, device: torch.device | str) -> SomeBatch:
        """The same batch on `device` (asynchronous from pinned memory)."""
        return move_tensors(self, device)

    def select(self: SomeBatch, rows: Sequence[int]) -> SomeBatch:
        """The samples `rows`, in that order."""
        index = torch.tensor(rows, device=self.instruction.device)
        identities = tuple(self.identities[row] for row in rows)
        chosen = _map_tensors(self, lambda tensor: tensor[index])
        return dataclasses.replace(chosen, identities=identities)

    def pin_memory(self: SomeBatch) -> SomeBatch:
        """The same batch in page-locked memory (called by the data loader)."""
        return _map_tensors(self, Tensor.pin_memory)


@dataclass(frozen=True)
class WindowBatch(Batch):
    """Windows of consecutive frames and the actions that were taken there.

    Legend: T frames of `PolicySpec.offsets`, H actions of its horizon, A numbers of an action.
    """

    observed: Observation  # with a time axis if the policy wants more than one frame
    action: Tensor  # (B, H, A) float32
    valid: Tensor  # (B, H) bool; False beyond the end of the episode, whose last action is repeated
    goal: Tensor | None = None  # (B, 7) pose of the gripper that `PolicySpec.goal` asks for

    def observation(self) -> Observation:
        """What the policy sees."""
        return self.observed


@dataclass(frozen=True)
class KeyframeBatch(Batch):
    """Observed frames and the keyframe poses to reach; images still in their stored form."""

    rgb: Tensor  # (B, K, H, W, 3) uint8
    # (B, K, H, W, 3) uint8, 24-bit fixed point, high byte first; 0 = nothing measured
    depth_code: Tensor
    depth_range: Tensor  # (B, K, 2) float64: near, far in metres
    intrinsics: Tensor  # (B, K, 3, 3) float64
    extrinsics: Tensor  # (B, K, 4, 4) float64, T_world_from_camera
    proprioception: Tensor  # (B, 4) float32
    target_pose: Tensor  # (B, 7) float32
    gripper_open: Tensor  # (B,) int64, 1 = open
    ignore_collisions: Tensor  # (B,) int64, 1 = ignore

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
class KeyframeSequenceBatch(KeyframeBatch):
    """Observed frames and the next H keyframes of their demos, the last one repeated at the end.

    Step 0 is the keyframe of `KeyframeBatch`.
    """

    poses: Tensor  # (B, H, 7) float32
    grippers: Tensor  # (B, H) int64, 1 = open
    collisions: Tensor  # (B, H) int64, 1 = ignore
    valid: Tensor  # (B, H) bool; False where the demo has ended


@dataclass(frozen=True)
class KeyframePreviewBatch(KeyframeBatch):
    """Observed frames, the keyframe poses to reach, and what is seen there."""

    after: Observation  # B observations with depth and matrices, without state
    shown: Tensor  # (B,) bool; False where the recording ends there: `after` is the frame itself


@dataclass(frozen=True)
class ActionChunk:
    """A sequence of H actions per environment; H = 1 for keyframe policies."""

    values: (
        Tensor  # (B, H, A); keyframe_pose: position 3, quaternion 4, open 1, ignore collisions 1
    )
    valid: Tensor  # (B, H) bool; False where the policy saw no point of the workspace
    space: str = "keyframe_pose"


class Session(Protocol):
    """Acting with a policy in several environments, named by ids; what an executor needs."""

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


@dataclass(frozen=True)
class LossOutput:
    """The loss to differentiate, its named terms, and what else is logged.

    Attributes:
        total: scalar.
        terms: name -> scalar, detached; `Policy.term_names` in that order.
        per_sample: name -> (B,) detached, NaN where a sample has no such value;
            `Policy.sample_value_names`. Their means per keyframe index are logged.
    """

    total: Tensor
    terms: dict[str, Tensor]
    per_sample: Mapping[str, Tensor] = field(default_factory=dict)


Data = TypeVar("Data", bound="DataclassInstance")


def _observed(name: str, value: Tensor | None) -> Tensor:
    if value is None:
        raise ContractError(f"{name}: this policy needs it, but the observation has none")
    return value


def _map_tensors(data: Data, function: Callable[[Tensor], Tensor]) -> Data:
    """A copy of dataclass `data` with every tensor changed, those of dataclasses in it too."""
    changed: dict[str, Any] = {}
    for item in dataclasses.fields(data):
        value = getattr(data, item.name)
        if isinstance(value, Tensor):
            changed[item.name] = function(value)
        elif isinstance(value, Observation):
            changed[item.name] = _map_tensors(value, function)
        elif isinstance(value, Mapping):
            changed[item.name] = {k: _map_tensors(v, function) for k, v in value.items()}
    return dataclasses.replace(data, **changed)


def tensors_in(data: Any) -> Iterator[Tensor]:
    """Every tensor of a dataclass, those of dataclasses in it too."""
    for item in dataclasses.fields(data):
        value = getattr(data, item.name)
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Observation):
            yield from tensors_in(value)
        elif isinstance(value, Mapping):
            for part in value.values():
                yield from tensors_in(part)


def _given(observation: Observation) -> list[str]:
    """Names of the fields of `observation` that hold tensors."""
    fields = dataclasses.fields(observation)
    return [f.name for f in fields if isinstance(getattr(observation, f.name), Tensor)]


def move_tensors(data: Data, device: torch.device | str) -> Data:
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
