"""What every simulator of this project offers, whatever runs behind it.

World frame: metres, z up, x away from the robot's base, y to its left. Quaternions are xyzw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sam2act.core.actions import KEYFRAME_POSE, ActionSpec, Controls
from sam2act.core.errors import ConfigError
from sam2act.core.registry import ENVS
from sam2act.data.rlbench.types import Demo, RecordedObservation

CAMERAS = ("front", "left_shoulder", "right_shoulder", "overhead", "wrist")
POLICY_CAMERAS = ("front", "left_shoulder", "right_shoulder", "wrist")
IMAGE_POLICIES = ("keyframes", "all", "none")
ACTION_SIZE = KEYFRAME_POSE.size
INSIDE = 1e-7  # metres; RLBench refuses the faces of its workspace themselves


class EnvError(Exception):
    """Anything that ends an episode without being the program's fault."""


class InvalidActionError(EnvError):
    """The action has the wrong form, lies outside the workspace or cannot be reached."""


class IKError(EnvError):
    """No joint solution within the limits reaches the pose."""


class ConfigurationPathError(EnvError):
    """The pose can be reached, but no collision-free path to it was found."""


class ScriptError(EnvError):
    """The scripted demonstration did not succeed with this seed."""


class WaypointError(EnvError):
    """A waypoint cannot be reached in the sampled scene."""


class BoundaryError(EnvError):
    """An object does not fit into the area in which it is to be placed."""


class NoWaypointsError(EnvError):
    """The task has no waypoints and hence no demonstration."""


class SimulationError(EnvError):
    """The physics became unstable; the episode's state is lost."""


@dataclass(frozen=True)
class PinholeCamera:
    """A pinhole camera as RLBench describes it.

    Attributes:
        name: one of `CAMERAS`.
        pose: (4, 4) camera axes and position; in the world, or in the tip frame if `on_hand`.
        field_of_view: degrees, of the whole image height.
        near: metres, depth 0 of stored images.
        far: metres, depth 1 of stored images; also the depth where nothing is seen.
        on_hand: whether the camera moves with the gripper.
    """

    name: str
    pose: np.ndarray
    field_of_view: float
    near: float
    far: float
    on_hand: bool = False

    def intrinsics(self, image_size: int) -> np.ndarray:
        """(3, 3) K with RLBench's negative focal lengths, in pixels."""
        half = image_size / 2
        focal = -half / np.tan(np.deg2rad(self.field_of_view) / 2)
        return np.array([[focal, 0.0, half], [0.0, focal, half], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class EnvConfig:
    """Which scene to open and what to observe in it.

    Attributes:
        task: name of the task.
        backend: name in the registry `ENVS`.
        cameras: cameras that `reset` and `step` render.
        image_size: pixels per side.
        masks: also render `<camera>_mask`.
        point_clouds: also compute `<camera>_point_cloud`.
        perturbations: names of perturbation factors, empty = none.
        memory_strict: remove what would give the past away (embedded MemoryBench tasks).
        strict_order: MemoryBench conditions count in the described order only.
        clip_targets: move positions outside the workspace into it, as published; False = refuse
            such an action.
        retry_without_collision: plan once more ignoring collisions before giving up.
        stop_on_success: `step` ends a motion as soon as the task is solved.
        headless: open no window (rlbench; the embedded simulator never does).
    """

    task: str
    backend: str = "embedded"
    cameras: tuple[str, ...] = POLICY_CAMERAS
    image_size: int = 128
    masks: bool = False
    point_clouds: bool = False
    perturbations: tuple[str, ...] = ()
    memory_strict: bool = True
    strict_order: bool = False
    clip_targets: bool = True
    retry_without_collision: bool = True
    stop_on_success: bool = True
    headless: bool = True

    def __post_init__(self) -> None:
        ENVS.check(self.backend)
        unknown = [name for name in self.cameras if name not in CAMERAS]
        if unknown:
            raise ValueError(f"cameras: {', '.join(unknown)} unknown; there are {CAMERAS}")
        if self.image_size < 8:
            raise ValueError(f"image_size: {self.image_size} pixels are too few; use 128")


@dataclass
class StepResult:
    """What an action led to.

    Attributes:
        observation: after the action.
        reward: 1.0 on success, else 0.0.
        terminal: whether the task is solved.
        info: `success`, `error` and `error_type` (None; whoever catches an `EnvError` of `step`
            fills them in), `path_kind`, `frames`, `plan_ms`, `exec_ms`, `render_ms`.
    """

    observation: RecordedObservation
    reward: float
    terminal: bool
    info: dict[str, Any] = field(default_factory=dict)


class Env(Protocol):
    """A task in a simulator, driven by actions.

    `controls` lists the control modes and what an action of each is. All backends have
    `keyframe_pose`, a float array (9,): position in metres, quaternion xyzw, gripper (1 open, 0
    closed), ignore_collisions (1 or 0).
    """

    task_name: str
    backend: str
    controls: Controls  # by name
    instructions: list[str]  # of the running episode

    def variation_count(self) -> int:
        """Number of variations; they are numbered from 0."""

    def reset(self, variation: int, seed: int) -> tuple[list[str], RecordedObservation]:
        """Start an episode; the instructions (the first one counts) and the first observation.

        Raises:
            ValueError: there is no such variation or seed.
            BoundaryError, WaypointError: no usable scene was found.
        """

    def step(self, action: np.ndarray, control: str = "keyframe_pose") -> StepResult:
        """Execute an action of the control mode `control`: move, actuate the gripper.

        Raises:
            ConfigError: the backend has no such control mode.
            InvalidActionError: the action has the wrong form or cannot be reached.
            IKError: no joint solution leads to the target of a frame (dense control modes).
            SimulationError: the physics became unstable.
        """

    def get_demo(self, variation: int, seed: int, images: str = "keyframes") -> Demo:
        """A scripted demonstration; `images` is one of `IMAGE_POLICIES`.

        Raises:
            ScriptError: the script did not succeed with this seed.
        """

    def reset_to_demo(self, demo: Demo) -> tuple[list[str], RecordedObservation]:
        """Start an episode in the scene in which `demo` was recorded.

        Raises:
            ValueError: it was recorded in another environment.
        """

    def start_film(self, every: int) -> None:
        """Film the running episode from here on, every `every`-th frame of 0.05 s."""

    def stop_film(self) -> list[np.ndarray]:
        """The pictures (H, W, 3) uint8 taken since; empty if no film was started."""

    def close(self) -> None:
        """Free the simulator; the environment is unusable afterwards."""


def check_control(control: str, controls: Controls, backend: str) -> ActionSpec:
    """What an action of the control mode `control` is.

    Raises:
        ConfigError: the backend has no such mode; the message lists those it has.
    """
    if control not in controls:
        raise ConfigError(
            f"control: {control!r} is unknown to the {backend} backend; it has "
            f"{', '.join(controls)}"
        )
    return controls[control]


def check_action(
    action: np.ndarray | Sequence[float], spec: ActionSpec = KEYFRAME_POSE
) -> np.ndarray:
    """`action` as (spec.size,) float64 with a unit quaternion, if it has one.

    Raises:
        InvalidActionError: wrong shape, a value that is no number, a quaternion whose norm is off
            by more than 1e-3.
    """
    values = np.asarray(action, np.float64)
    if values.shape != (spec.size,):
        raise InvalidActionError(
            f"action: shape {values.shape} instead of ({spec.size},): {spec.describe()}"
        )
    if not np.isfinite(values).all():
        raise InvalidActionError(f"action: {values} holds values that are no numbers")
    return _with_unit_quaternion(values, spec) if spec.has("quaternion") else values


def _with_unit_quaternion(values: np.ndarray, spec: ActionSpec) -> np.ndarray:
    place = spec.slice_of("quaternion")
    norm = float(np.linalg.norm(values[place]))
    if abs(norm - 1) > 1e-3:
        raise InvalidActionError(
            f"action: the quaternion {values[place]} has norm {norm:.4f}; normalise it"
        )
    values = values.copy()
    values[place] /= norm
    return values


def target_inside(
    position: np.ndarray, low: np.ndarray, high: np.ndarray, *, clip: bool
) -> np.ndarray:
    """`position` (3,) where it lies inside a workspace, else the nearest one that does.

    Args:
        position: metres, world frame.
        low: (3,) lowest corner of the workspace; its faces do not belong to it.
        high: (3,) highest corner.
        clip: whether positions outside are moved.

    Raises:
        InvalidActionError: the position lies outside and `clip` is False.
    """
    inside = np.clip(position, low + INSIDE, high - INSIDE)
    if not clip and not np.array_equal(inside, position):
        raise InvalidActionError(
            f"action: position {np.round(position, 3)} lies outside the workspace "
            f"{np.round(low, 3)} to {np.round(high, 3)} metres"
        )
    return inside
