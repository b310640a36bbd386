"""Chunks of deltas as poses, counted from where the gripper was seen.

Deltas that are executed one by one add up from the pose that was commanded last, which the arm lags
behind. A chunk that was predicted from a measured pose is meant from there.

Legend: B environments of a call, H actions of a chunk, A numbers of an action.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from sam2act.core.actions import EE_DELTA, EE_POSE
from sam2act.core.errors import require
from sam2act.core.specs import GRIPPER_POSE, PolicySpec
from sam2act.core.types import ActionChunk, Instruction, Observation, Session


def summed_deltas(pose: Tensor, deltas: Tensor) -> Tensor:
    """Where deltas lead, one after the other.

    Args:
        pose: (B, 7) at the start, metres and xyzw, world frame.
        deltas: (B, H, 7) translation in metres and rotation vector in radians, both in the world
            frame, and the opening of the gripper.

    Returns:
        (B, H, 8) float64: pose after each of them, and its opening.
    """
    pose, deltas = pose.double().cpu(), deltas.double().cpu()
    turns = [Rotation.from_quat(pose[:, 3:].numpy())]
    for step in deltas[..., 3:6].unbind(1):
        turns.append(Rotation.from_rotvec(step.numpy()) * turns[-1])
    quaternions = torch.stack([torch.from_numpy(turn.as_quat()) for turn in turns[1:]], dim=1)
    positions = pose[:, None, :3] + deltas[..., :3].cumsum(1)
    return torch.cat([positions, quaternions, deltas[..., 6:]], dim=-1)


class MeasuredBase:
    """A session of a policy of deltas that gives poses (`ee_pose`) instead."""

    def __init__(self, session: Session) -> None:
        """Acts with `session`.

        Raises:
            ConfigError: its actions are no deltas, or it does not observe the gripper's pose.
        """
        spec = session.spec
        require(
            spec.action.mode == EE_DELTA.mode,
            f"executor: base='measured' is for actions of mode {EE_DELTA.mode}, and those of this "
            f"policy are {spec.action.mode}; leave it out",
        )
        names = [part.name for part in spec.state]
        require(
            GRIPPER_POSE.name in names,
            f"executor: base='measured' needs a policy that observes {GRIPPER_POSE.name}, and this "
            f"one observes {', '.join(names) or 'no state'}; leave it out",
        )
        first = sum(part.size for part in spec.state[: names.index(GRIPPER_POSE.name)])
        self._pose = slice(first, first + GRIPPER_POSE.size)
        self.session = session

    @property
    def spec(self) -> PolicySpec:
        """That of the policy, with poses as actions."""
        spec = self.session.spec
        action = dataclasses.replace(EE_POSE, horizon=spec.action.horizon, rate=spec.action.rate)
        return dataclasses.replace(spec, action=action)

    @property
    def time_passes(self) -> Callable[[int], list[float]] | None:
        """That of the policy, if it has one."""
        return getattr(self.session, "time_passes", None)

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start new episodes in `env_ids` (None: in all)."""
        self.session.reset(env_ids)

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        """The next actions of `env_ids`, as poses counted from the latest observed one."""
        chunk = self.session.act(observation, language, env_ids)
        seen = observation.proprioception
        latest = seen[:, -1] if seen.dim() == 3 else seen  # frames are in order
        poses = summed_deltas(latest[:, self._pose], chunk.values).to(chunk.values)
        return ActionChunk(poses, chunk.valid, EE_POSE.mode)
