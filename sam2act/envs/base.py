"""What every simulator of this project offers, whatever runs behind it.

World frame: metres, z up, x away from the robot's base, y to its left. Quaternions are xyzw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from sam2act.core.actions import KEYFRAME_POSE, ActionSpec, Controls
from sam2act.core.errors import ConfigError
from sam2act.core.registry import ENVS
from sam2act.core.specs import CameraSpec, EnvSpec, square_cameras
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.data.rlbench.types import Demo

CAMERAS = ("front", "left_shoulder", "right_shoulder", "overhead", "wrist")
IMAGE_POLICIES = ("keyframes", "all", "none")
ACTION_SIZE = KEYFRAME_POSE.size
# Where RLBench accepts targets, in metres; the faces do not belong to it.
WORKSPACE_LOW = np.array([-0.3, -0.66, 0.752])
WORKSPACE_HIGH = np.array([0.8, 0.66, 1.752])
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
class EnvConfig:
    """Which scene to open and what to observe in it.

    Attributes:
        task: name of the task.
        backend: name in the registry `ENVS`.
        cameras: cameras that `reset` and `step` render; the backend knows which there are.
        image_size: pixels per side.
        masks: also render masks.
        point_clouds: also compute point clouds.
        options: what else the backend lets choose, an object of its class `Options`; None = its
            defaults.
    """

    task: str
    backend: str = "embedded"
    cameras: tuple[str, ...] = POLICY_CAMERAS
    image_size: int = 128
    masks: bool = False
    point_clouds: bool = False
    options: Any = None

    def __post_init__(self) -> None:
        ENVS.check(self.backend)
        if self.image_size < 8:
            raise ConfigError(f"image_size: {self.image_size} pixels are too few; use 128")


@dataclass
class StepResult:
    """What an action led to.

    Attributes:
        observation: after the action, as a `Frame` or with a method `frame`.
        reward: of this step; success is a reward of at least `EnvSpec.success_threshold`.
        terminal: whether the episode is over.
        info: what the backend tells beside it. Those of this package: `success`, `error` and
            `error_type` (None; whoever catches an `EnvError` of `step` fills them in),
            `path_kind`, `frames`, `plan_ms`, `exec_ms`, `render_ms`.
    """

    observation: Any  # HasFrame
    reward: float
    terminal: bool
    info: dict[str, Any] = field(default_factory=dict)


class Env(Protocol):
    """A task in a simulator, driven by actions: what every environment can do.

    What only some can do are the protocols `Restorable`, `Scripted`, `Filmable` and
    `NumbersScenes`.
    """

    @property
    def spec(self) -> EnvSpec:
        """Cameras, state, control modes, episode length and what counts as success."""
        ...

    def variation_count(self) -> int:
        """Number of variations; they are numbered from 0."""
        ...

    def reset(self, variation: int, seed: int) -> tuple[list[str], Any]:
        """Start an episode; the instructions (the first one counts) and the first observation.

        The observation is a `core.types.Frame`, or has a method `frame` that makes one.

        Raises:
            ValueError: there is no such variation or seed.
            BoundaryError, WaypointError: no usable scene was found.
        """
        ...

    def step(self, action: np.ndarray, control: str) -> StepResult:
        """Execute an action of the control mode `control`, one of `spec.actions`.

        Raises:
            ConfigError: the backend has no such control mode.
            InvalidActionError: the action has the wrong form or cannot be reached.
            IKError: no joint solution leads to the target of a frame (dense control modes).
            SimulationError: the physics became unstable.
        """
        ...

    def close(self) -> None:
        """Free the simulator; the environment is unusable afterwards."""
        ...


@runtime_checkable
class Restorable(Protocol):
    """An environment that can restore the scene of a recorded demo."""

    def reset_to_demo(self, demo: Demo) -> tuple[list[str], Any]:
        """Start an episode in the scene in which `demo` was recorded.

        Raises:
            ValueError: it was recorded in another environment.
        """
        ...


@runtime_checkable
class Scripted(Protocol):
    """An environment whose tasks have a scripted expert."""

    instructions: list[str]  # of the running episode

    def get_demo(self, variation: int, seed: int, images: str = "keyframes") -> Demo:
        """A scripted demonstration; `images` is one of `IMAGE_POLICIES`.

        Raises:
            ScriptError: the script did not succeed with this seed.
        """
        ...


@runtime_checkable
class Filmable(Protocol):
    """An environment that can be filmed."""

    def start_film(self, every: int) -> None:
        """Film the running episode from here on, every `every`-th frame of 0.05 s."""
        ...

    def stop_film(self) -> list[np.ndarray]:
        """The pictures (H, W, 3) uint8 taken since; empty if no film was started."""
        ...


@runtime_checkable
class NumbersScenes(Protocol):
    """An environment that gives the scenes of a set its own seeds."""

    def seed_of(self, set_seed: int, episode: int) -> int:
        """The seed of episode `episode` in the set with seed `set_seed`."""
        ...


def restorable(env: object, name: str = "this environment") -> Restorable:
    """`env`, which must be able to restore scenes; `name` is what the message calls it.

    Raises:
        ConfigError: it cannot.
    """
    if isinstance(env, Restorable):
        return env
    raise ConfigError(f"{name} cannot restore recorded scenes; evaluate new ones with --seed N")


def scripted(env: object, name: str = "this environment") -> Scripted:
    """`env`, which must have a scripted expert; `name` is what the message calls it.

    Raises:
        ConfigError: it has none.
    """
    if isinstance(env, Scripted):
        return env
    raise ConfigError(f"{name} has no scripted expert, so it records no demonstrations")


def filmable(env: object, name: str = "this environment") -> Filmable:
    """`env`, which must be able to film; `name` is what the message calls it.

    Raises:
        ConfigError: it cannot.
    """
    if isinstance(env, Filmable):
        return env
    raise ConfigError(f"{name} cannot be filmed; leave --save-video out")


def offered_cameras(config: EnvConfig, known: Sequence[str]) -> tuple[CameraSpec, ...]:
    """The cameras of `config`; if one of them does not exist, all that do (for messages)."""
    missing = [name for name in config.cameras if name not in known]
    cameras = square_cameras(known if missing else config.cameras, config.image_size, depth=True)
    return tuple(replace(camera, mask=config.masks) for camera in cameras)


def require_cameras(config: EnvConfig, known: Sequence[str]) -> None:
    """Make sure that a backend has the cameras of `config`.

    Raises:
        ConfigError: one is unknown; the message lists those that there are.
    """
    unknown = [name for name in config.cameras if name not in known]
    if unknown:
        raise ConfigError(
            f"cameras: {', '.join(unknown)} unknown to the {config.backend} backend; there are "
            f"{', '.join(known)}"
        )


Options = TypeVar("Options")


def options_of(config: EnvConfig, kind: type[Options]) -> Options:
    """The options of `config`, those of its backend by default.

    Raises:
        ConfigError: they are those of another backend.
    """
    if config.options is None:
        return kind()
    if not isinstance(config.options, kind):
        raise ConfigError(
            f"options: backend {config.backend} takes {kind.__module__}.{kind.__name__}, got "
            f"{type(config.options).__module__}.{type(config.options).__name__}"
        )
    return config.options


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
