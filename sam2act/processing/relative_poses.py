"""UMI's view of poses: everything relative to where the gripper is now.

Data and robots give poses in one fixed frame; the policy sees and says what they are in the frame
of the gripper at the present step. A 6-D rotation is the first two rows of its matrix.
Legend: B samples or environments, T frames, H actions, P numbers of the state.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from sam2act.core.actions import EE_POSE_6D, Component
from sam2act.core.errors import require
from sam2act.core.specs import PolicySpec, SpecError
from sam2act.core.types import ActionChunk, Batch, ContractError, Observation, WindowBatch
from sam2act.geometry.rotations import (
    matrix_from_rotation_6d,
    matrix_from_rotation_vector,
    rotation_6d_from_matrix,
)
from sam2act.processing.images import uniform
from sam2act.processing.transforms import Transform

POSITION = Component("robot0_eef_pos", 3, "")
TURN = Component("robot0_eef_rot_axis_angle", 3, "")
WIDTH = Component("robot0_gripper_width", 1, "")
START = Component("robot0_demo_start_pose", 6, "")
RECORDED = (POSITION, TURN, WIDTH, START)
SINCE_START = "robot0_eef_rot_axis_angle_wrt_start"
# What a policy may see, by the published names: rotations have six numbers here.
SEEN = {POSITION.name: 3, TURN.name: 6, WIDTH.name: 1, SINCE_START: 6}
NOISE = 0.05  # metres and radians, deviation of the start pose in training


class RelativePoses(Transform):
    """State and actions relative to the present pose of the gripper; actions are turned back."""

    def __init__(self, spec: PolicySpec, noise: float = NOISE) -> None:
        """See the module.

        Args:
            spec: of the policy, which may see parts of `SEEN`.
            noise: deviation of what the policy is told of the start pose, in training.

        Raises:
            SpecError: the policy gives other actions, or sees another state.
            ConfigError: the noise is negative.
        """
        require(noise >= 0, f"transforms: relative_poses: noise={noise} must not be negative")
        if spec.action.mode != EE_POSE_6D.mode:
            raise SpecError(
                f"transforms: relative_poses is for actions of mode {EE_POSE_6D.mode}, the policy "
                f"gives {spec.action.mode}"
            )
        for part in spec.state:
            if SEEN.get(part.name) != part.size:
                known = ", ".join(f"{name} of {size}" for name, size in SEEN.items())
                raise SpecError(
                    f"transforms: relative_poses gives {known}, the policy wants {part.name} of "
                    f"{part.size}"
                )
        self.noise, self._names = noise, tuple(part.name for part in spec.state)
        self._now = sum(offset < 0 for offset in spec.offsets)  # place of the present frame

    def wanted(self, spec: PolicySpec) -> PolicySpec:
        """The same with the state as it is recorded."""
        return dataclasses.replace(spec, state=RECORDED)

    def observation(self, observation: Observation) -> Observation:
        """With the state that the policy sees."""
        return self._changed(observation, None)

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """With the state that the policy sees, and relative actions.

        Raises:
            ContractError: there are no windows of frames.
        """
        if not isinstance(batch, WindowBatch):
            raise ContractError("relative_poses: is for policies that learn windows of frames")
        rotation, position = self._present(batch.observed)
        return dataclasses.replace(
            batch,
            observed=self._changed(batch.observed, seeds),
            action=_relative(batch.action, rotation, position),
        )

    def action_after(self, chunk: ActionChunk, observed: Observation) -> ActionChunk:
        """Actions in the frame of the recorded poses."""
        rotation, position = self._present(observed)
        values = chunk.values.double()
        turned = rotation[:, None] @ matrix_from_rotation_6d(values[..., 3:9])
        moved = _rotated(rotation[:, None], values[..., :3]) + position[:, None]
        parts = (moved, rotation_6d_from_matrix(turned), values[..., 9:])
        return dataclasses.replace(chunk, values=torch.cat(parts, dim=-1).to(chunk.values))

    def _changed(self, observed: Observation, seeds: Tensor | None) -> Observation:
        rows = _with_time(observed)
        rotation, position = self._present(observed)
        turns = matrix_from_rotation_vector(rows[..., 3:6])
        inverse = rotation.transpose(-1, -2)[:, None]
        parts = {
            POSITION.name: _rotated(inverse, rows[..., :3] - position[:, None]),
            TURN.name: rotation_6d_from_matrix(inverse @ turns),
            WIDTH.name: rows[..., 6:7],
            SINCE_START: rotation_6d_from_matrix(self._start(rows, seeds) @ turns),
        }
        nothing = rows[..., :0]
        seen = torch.cat([nothing, *(parts[name] for name in self._names)], dim=-1)
        state = seen.reshape(*observed.proprioception.shape[:-1], -1) if self._names else seen
        if observed.proprioception.dim() == 2:
            state = seen[:, 0]
        return dataclasses.replace(observed, proprioception=state.to(observed.proprioception))

    def _start(self, rows: Tensor, seeds: Tensor | None) -> Tensor:
        """(B, 1 or T, 3, 3) inverse rotation of the start pose, disturbed in training."""
        turn = rows[..., 10:13]
        if seeds is not None and self.noise:
            draws = uniform(seeds, "relative_poses", 3).clamp(1e-6, 1 - 1e-6).to(turn)
            turn = turn + self.noise * torch.special.ndtri(draws)[:, None]
        return matrix_from_rotation_vector(turn).transpose(-1, -2)

    def _present(self, observed: Observation) -> tuple[Tensor, Tensor]:
        """Rotation (B, 3, 3) and position (B, 3) of the gripper now."""
        rows = _with_time(observed)
        now = rows[:, self._now if rows.shape[1] > 1 else 0]
        return matrix_from_rotation_vector(now[:, 3:6]), now[:, :3]


def _with_time(observed: Observation) -> Tensor:
    """(B, T, P) float64 recorded state."""
    state = observed.proprioception.double()
    size = sum(part.size for part in RECORDED)
    if state.shape[-1] != size:
        raise ContractError(
            f"relative_poses: expected a state of {size} numbers "
            f"({', '.join(part.name for part in RECORDED)}), got {state.shape[-1]}"
        )
    return state[:, None] if state.dim() == 2 else state


def _relative(actions: Tensor, rotation: Tensor, position: Tensor) -> Tensor:
    """(B, H, 10) in the frame of the present pose."""
    values, inverse = actions.double(), rotation.transpose(-1, -2)[:, None]
    turned = inverse @ matrix_from_rotation_6d(values[..., 3:9])
    moved = _rotated(inverse, values[..., :3] - position[:, None])
    parts = (moved, rotation_6d_from_matrix(turned), values[..., 9:])
    return torch.cat(parts, dim=-1).to(actions)


def _rotated(rotation: Tensor, vectors: Tensor) -> Tensor:
    """(..., 3) of rotations (..., 3, 3) and vectors (..., 3)."""
    turned: Tensor = (rotation @ vectors[..., None])[..., 0]
    return turned
