"""A session for real robots: its targets stay in a box, and each lies near the one before.

Legend: B environments of a call, H actions of a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp

from sam2act.core.actions import EE_POSE, EE_POSE_6D, KEYFRAME_POSE
from sam2act.core.errors import UserError, require, require_choice
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk, Instruction, Observation, Session, environment_ids
from sam2act.geometry.rotations import matrix_from_rotation_6d, rotation_6d_from_matrix

REFUSE, CLIP = "refuse", "clip"
_AXES = "xyz"


class SafetyError(UserError):
    """An action breaks a limit; the message names environment, limit and value."""


@dataclass(frozen=True)
class SafetyLimits:
    """What targets of the gripper must keep to; metres and degrees, world frame.

    Attributes:
        box: (x, y, z) least, then greatest, of every target; None = anywhere.
        step: longest way from one target to the next; None = any.
        turn: largest rotation from one target to the next; None = any.
        beyond: `refuse` raises an error before anything is commanded, `clip` brings the target to
            the nearest one that is allowed.
    """

    box: tuple[float, float, float, float, float, float] | None = None
    step: float | None = None
    turn: float | None = None
    beyond: str = REFUSE

    def __post_init__(self) -> None:
        require_choice("beyond", self.beyond, (REFUSE, CLIP))
        if self.box is not None:
            require(len(self.box) == 6, f"box: needs six numbers, got {len(self.box)}")
            low, high = np.array(self.box[:3]), np.array(self.box[3:])
            require(bool((low < high).all()), f"box: {self.box} is empty; give the least first")
        for name in ("step", "turn"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name}: must be positive, got {value}")


class SafeSession:
    """A session whose actions keep to limits, for policies that give poses of the gripper."""

    def __init__(self, session: Session, limits: SafetyLimits) -> None:
        """Watch over `session`.

        Raises:
            SafetyError: its actions are no poses in the world frame.
        """
        modes = (KEYFRAME_POSE.mode, EE_POSE.mode, EE_POSE_6D.mode)
        if session.spec.action.mode not in modes:
            raise SafetyError(
                f"the policy gives actions of mode {session.spec.action.mode}, and limits hold "
                f"for {', '.join(modes)}; limit the motion in the robot's controller instead"
            )
        self.session, self.limits = session, limits
        self.changes: list[str] = []  # what was clipped in the latest call
        self._latest: dict[int, np.ndarray] = {}  # environment -> (7,) last target

    @property
    def spec(self) -> PolicySpec:
        """What must be observed for the policy, and what it gives."""
        return self.session.spec

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start new episodes in `env_ids` (None: in all)."""
        self.session.reset(env_ids)
        for env_id in list(self._latest) if env_ids is None else env_ids:
            self._latest.pop(env_id, None)

    def gripper_at(self, pose: np.ndarray, env_id: int = 0) -> None:
        """Say where a gripper is, (7,) metres and xyzw, from which the next step is measured.

        Without it the first target of an episode may be any within the box.
        """
        self._latest[env_id] = np.array(pose, np.float64)

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        """The next actions of `env_ids`, within the limits.

        Raises:
            SafetyError: one is beyond them and `limits.beyond` is `refuse`. The policy has taken
                the observation in all the same: reset the environment before it goes on.
        """
        chunk = self.session.act(observation, language, env_ids)
        values = chunk.values.to("cpu", torch.float64).numpy().copy()
        self.changes = []
        for row, env_id in enumerate(environment_ids(env_ids, len(observation))):
            latest = self._latest.get(env_id)
            for step in range(values.shape[1]):
                if not bool(chunk.valid[row, step]):
                    continue
                wanted = _pose(values[row, step], chunk.space)
                latest = self._kept(wanted, latest, f"environment {env_id}, action {step}")
                if not np.array_equal(wanted, latest, equal_nan=True):
                    _set_pose(values[row, step], latest, chunk.space)
            if latest is not None:
                self._latest[env_id] = latest
        kept = torch.from_numpy(values).to(chunk.values)  # what was not changed stays exactly
        return ActionChunk(kept, chunk.valid, chunk.space)

    def _kept(self, target: np.ndarray, latest: np.ndarray | None, place: str) -> np.ndarray:
        """`target` (7,), or the nearest one that is allowed."""
        limits = self.limits
        pose: np.ndarray = target.copy()
        if not np.isfinite(pose).all():
            raise SafetyError(f"{place}: is not finite ({pose.tolist()}); nothing was commanded")
        if limits.box is not None:
            low, high = np.array(limits.box[:3]), np.array(limits.box[3:])
            for axis in np.flatnonzero((pose[:3] < low) | (pose[:3] > high)):
                bounds = f"{low[axis]:g} to {high[axis]:g} m"
                self._beyond(f"{place}: {_AXES[axis]} = {pose[axis]:.3f} m is outside {bounds}")
            pose[:3] = pose[:3].clip(low, high)
        if latest is None:
            return pose
        way = pose[:3] - latest[:3]
        length = float(np.linalg.norm(way))
        if limits.step is not None and length > limits.step:
            self._beyond(f"{place}: a step of {length:.3f} m is longer than {limits.step:g} m")
            pose[:3] = latest[:3] + way * (limits.step / length)
        turns = Rotation.from_quat(np.stack([latest[3:], pose[3:]]))
        angle = float(np.degrees((turns[1] * turns[0].inv()).magnitude()))
        if limits.turn is not None and angle > limits.turn:
            self._beyond(f"{place}: a turn of {angle:.1f} degrees is more than {limits.turn:g}")
            pose[3:] = Slerp([0.0, 1.0], turns)([limits.turn / angle]).as_quat()[0]
        return pose

    def _beyond(self, text: str) -> None:
        """Refuse, or note what is changed."""
        if self.limits.beyond == REFUSE:
            raise SafetyError(f"{text}; nothing was commanded")
        self.changes.append(text)


def _pose(action: np.ndarray, space: str) -> np.ndarray:
    """(7,) metres and xyzw of an action."""
    if space != EE_POSE_6D.mode:
        return action[:7]
    if not np.isfinite(action).all():
        return np.full(7, np.nan)
    matrix = matrix_from_rotation_6d(torch.from_numpy(action[3:9])).numpy()
    return np.concatenate([action[:3], Rotation.from_matrix(matrix).as_quat()])


def _set_pose(action: np.ndarray, pose: np.ndarray, space: str) -> None:
    """Change the pose (7,) of an action."""
    if space != EE_POSE_6D.mode:
        action[:7] = pose
        return
    matrix = torch.from_numpy(Rotation.from_quat(pose[3:]).as_matrix())
    action[:9] = np.concatenate([pose[:3], rotation_6d_from_matrix(matrix).numpy()])
