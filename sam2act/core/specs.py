"""What a policy wants and what an environment or a data set gives; compared before a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sam2act.core.actions import KEYFRAME_POSE, OPENING, ActionSpec, Component
from sam2act.core.errors import UserError

if TYPE_CHECKING:  # simulators start without torch
    from sam2act.geometry.scene_bounds import SceneBounds

NO_LANGUAGE = (1, 1)  # (L, D) of the zeros that a policy without instructions gets
DEFAULT_EXECUTOR = "single"  # of policies that say nothing else
# Poses that windows of frames may tell beside their actions (`PolicySpec.goal`).
NEXT_KEYFRAME, CHUNK_END = "keyframe", "chunk_end"
TIME_FEATURE_LENGTH = 25  # episode length in the time feature of training data

GRIPPER_OPEN = Component("gripper_open", 1, OPENING, "", 0.0, 1.0)
FINGER_JOINTS = Component("finger_joints", 2, "m", "", 0.0, 0.04)
GRIPPER_POSE = Component("gripper_pose", 7, "m, xyzw", "world")
JOINT_POSITIONS = Component("joint_positions", 7, "rad")
# Computed from the number of the step before a policy acts; environments need not report it.
TIME = Component("time", 1, "1 at the first step, -1 at the last", "", -1.0, 1.0)
ROBOT_STATE = (GRIPPER_OPEN, FINGER_JOINTS, TIME)


class SpecError(UserError):
    """A policy and an environment, or data, do not fit; the message names both sides."""


@dataclass(frozen=True)
class CameraSpec:
    """A camera by name, its image size in pixels, and whether it measures depth.

    A policy that takes images of any size states 0 x 0 pixels. `mask`: it also gives an image of
    the numbers of the objects that it sees, as simulators can.
    """

    name: str
    height: int
    width: int
    depth: bool = True
    mask: bool = False


@dataclass(frozen=True)
class LanguageSpec:
    """How instructions are encoded: kind of encoder, tokens, width of a token."""

    encoder: str
    length: int
    width: int


@dataclass(frozen=True)
class PolicySpec:
    """What a policy wants and what it gives; environments and data are set up from it.

    Attributes:
        camera_specs: in the order in which the policy takes their images.
        language: of the token features; None = it takes no instruction.
        state: parts of the robot state, in this order in `Observation.proprioception`.
        action: what it gives; `horizon` is the length of its chunks.
        bounds: workspace in metres, world frame; None = it has none.
        crop: points outside the bounds are not seen.
        offsets: the frames of an observation, counted in actions from now (0), oldest first; those
            of the future (above 0) are shown in training only.
        first_action: when the first action of a chunk is taken, counted from now.
        margins: least frames of the episode before and behind a frame at which a window of training
            may stand.
        episode_length: steps that the time feature spans.
        past_keyframes: how many earlier keyframes the policy itself remembers.
        keyframe_window: consecutive keyframes that belong together in its training batches.
        executor: which actions of its chunks are executed, unless an evaluation chooses another.
        next_keyframe: batches of keyframes show what is seen at the next one, too.
        goal: pose that it learns from beside the actions of a window: `keyframe` (that of the next
            keyframe), `chunk_end` (that after the last action), "" = none.
    """

    camera_specs: tuple[CameraSpec, ...]
    language: LanguageSpec | None
    state: tuple[Component, ...] = ROBOT_STATE
    action: ActionSpec = KEYFRAME_POSE
    bounds: SceneBounds | None = None
    crop: bool = True
    offsets: tuple[int, ...] = (0,)
    first_action: int = 0
    margins: tuple[int, int] = (0, 0)
    episode_length: int = TIME_FEATURE_LENGTH
    past_keyframes: int = 0
    keyframe_window: int = 1
    executor: str = DEFAULT_EXECUTOR
    next_keyframe: bool = False
    goal: str = ""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(camera.name for camera in self.camera_specs)

    @property
    def seen(self) -> tuple[int, ...]:
        """The offsets of the frames that are there while acting."""
        return tuple(offset for offset in self.offsets if offset <= 0)

    def sized(self, side: int) -> PolicySpec:
        """The same, with square images of `side` pixels where any size will do."""
        cameras = tuple(
            c if c.height else replace(c, height=side, width=side) for c in self.camera_specs
        )
        return replace(self, camera_specs=cameras)

    @property
    def state_size(self) -> int:
        """Numbers of the robot state."""
        return sum(part.size for part in self.state)

    @property
    def image_size(self) -> int:
        """Pixels per side of all images; 0 = any.

        Raises:
            SpecError: the cameras differ or are not square.
        """
        sides = {side for camera in self.camera_specs for side in (camera.height, camera.width)}
        if len(sides) != 1:
            raise SpecError(f"image_size: the policy's images have sides {sorted(sides)}")
        return sides.pop()

    @property
    def language_shape(self) -> tuple[int, int]:
        """(L, D) of the token features of one instruction.

        Raises:
            SpecError: the policy takes no instruction.
        """
        if self.language is None:
            raise SpecError("language: the policy takes no instruction")
        return self.language.length, self.language.width

    @property
    def token_shape(self) -> tuple[int, int]:
        """(L, D) of what stands for an instruction: its features, or zeros that say nothing."""
        return NO_LANGUAGE if self.language is None else self.language_shape

    @property
    def needs_depth(self) -> bool:
        """Whether any camera must measure depth."""
        return any(camera.depth for camera in self.camera_specs)


@dataclass(frozen=True)
class EnvSpec:
    """What an environment, or a data set, gives and takes.

    Attributes:
        camera_specs: that it has, or was asked to have.
        state: parts of the robot state that it reports.
        actions: one per control mode.
        episode_length: most steps of an episode; None = as the evaluation says.
        success_threshold: least reward that counts as success.
        instructions: whether its episodes have an instruction.
    """

    camera_specs: tuple[CameraSpec, ...]
    state: tuple[Component, ...]
    actions: tuple[ActionSpec, ...]
    episode_length: int | None = None
    success_threshold: float = 1.0
    instructions: bool = True

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(camera.name for camera in self.camera_specs)


def square_cameras(names: Sequence[str], side: int, *, depth: bool) -> tuple[CameraSpec, ...]:
    """Cameras of equal, square images."""
    return tuple(CameraSpec(name, side, side, depth) for name in names)


def require_match(policy: PolicySpec, given: EnvSpec, giver: str = "environment") -> None:
    """Make sure that a policy can work with what an environment or a data set gives.

    Raises:
        SpecError: it cannot; every mismatch is told with both sides.
    """
    found = list(mismatches(policy, given, giver))
    if found:
        raise SpecError("; ".join(found))


def mismatches(policy: PolicySpec, given: EnvSpec, giver: str = "environment") -> Iterator[str]:
    """What does not fit, one text per mismatch that names both sides."""
    yield from _camera_mismatches(policy, given, giver)
    yield from _state_mismatches(policy, given, giver)
    yield from _action_mismatches(policy, given, giver)
    if policy.language is not None and not given.instructions:
        yield f"policy wants an instruction, {giver} gives none"
    longest = given.episode_length
    if TIME in policy.state and longest is not None and longest > policy.episode_length:
        yield (
            f"policy knows the time of {policy.episode_length} steps, {giver} has episodes of "
            f"{longest}"
        )


def _camera_mismatches(policy: PolicySpec, given: EnvSpec, giver: str) -> Iterator[str]:
    there = {camera.name: camera for camera in given.camera_specs}
    for wanted in policy.camera_specs:
        camera = there.get(wanted.name)
        if camera is None:
            names = ", ".join(there) or "no camera"
            yield f"policy wants camera {wanted.name}, {giver} gives {names}"
            continue
        if wanted.depth and not camera.depth:
            yield f"policy wants depth of {wanted.name}, {giver} gives rgb only"
        # Masks of training images are stored apart from the data.
        if wanted.mask and not camera.mask and giver == "environment":
            yield f"policy wants masks of objects in {wanted.name}, {giver} gives none"
        if (wanted.height, wanted.width) not in ((0, 0), (camera.height, camera.width)):
            yield (
                f"policy wants {wanted.width} x {wanted.height} pixels of {wanted.name}, {giver} "
                f"gives {camera.width} x {camera.height}"
            )


def _state_mismatches(policy: PolicySpec, given: EnvSpec, giver: str) -> Iterator[str]:
    there = {part.name: part for part in given.state}
    for wanted in policy.state:
        if wanted == TIME:
            continue
        part = there.get(wanted.name)
        if part is None:
            yield f"policy wants state {wanted.name}, {giver} gives {', '.join(there) or 'none'}"
        elif (wanted.size, wanted.unit) != (part.size, part.unit):
            yield f"policy wants state {_told(wanted)}, {giver} gives {_told(part)}"


def _action_mismatches(policy: PolicySpec, given: EnvSpec, giver: str) -> Iterator[str]:
    wanted = policy.action
    takes = "takes" if giver == "environment" else "holds"
    there = {spec.mode: spec for spec in given.actions}
    action = there.get(wanted.mode)
    if action is None:
        modes = ", ".join(there) or "none"
        yield f"policy gives actions of mode {wanted.mode}, {giver} {takes} {modes}"
        return
    for mine, its in zip(wanted.components, action.components, strict=False):
        if (mine.name, mine.size, mine.unit, mine.frame) != (
            *(its.name, its.size, its.unit, its.frame),
        ):
            yield f"policy gives {_told(mine)} in {wanted.mode}, {giver} {takes} {_told(its)}"
    if len(wanted.components) != len(action.components):
        yield (
            f"policy gives {wanted.describe()} in {wanted.mode}, {giver} {takes} "
            f"{action.describe()}"
        )
    if wanted.rate != action.rate:
        yield f"policy acts at {_hertz(wanted.rate)}, {giver} {takes} {_hertz(action.rate)}"
    if len(policy.offsets) > 1 and action.rate is None:
        offsets = ", ".join(map(str, policy.offsets))
        yield (
            f"policy wants a history of frames ({offsets}), {giver} gives one frame per "
            f"{wanted.mode}"
        )


def _told(part: Component) -> str:
    frame = f" in the {part.frame} frame" if part.frame else ""
    return f"{part.name} of {part.size} ({part.unit}{frame})"


def _hertz(rate: float | None) -> str:
    return "one action per motion" if rate is None else f"{rate:g} Hz"
