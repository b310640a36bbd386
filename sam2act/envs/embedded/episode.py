"""Episodes of a task: building its scene, executing actions, looking."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np

from sam2act.core.actions import ActionSpec, Controls
from sam2act.data.rlbench.types import RecordedObservation
from sam2act.envs.base import (
    CAMERAS,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
    BoundaryError,
    ConfigurationPathError,
    EnvConfig,
    IKError,
    InvalidActionError,
    WaypointError,
    check_action,
    options_of,
    require_cameras,
    target_inside,
)
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Task, TaskOptions
from sam2act.envs.embedded.kit.workspace import model_text
from sam2act.envs.embedded.options import CONTROLS, SCENE_VERSION, Options
from sam2act.envs.embedded.perturbations import distractors
from sam2act.envs.embedded.perturbations.choice import perturber_of, variations_of
from sam2act.envs.embedded.perturbations.effects import Build, Stage
from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.robot.kinematics import Pose
from sam2act.envs.embedded.robot.planner import JointPath, Planner, time_path
from sam2act.envs.embedded.robot.robot import Robot
from sam2act.envs.embedded.robot.tracking import next_joints, target_of
from sam2act.envs.embedded.sensors.camera import RayCamera
from sam2act.envs.embedded.sensors.observations import Observer
from sam2act.envs.embedded.tasks import task_class

logger = logging.getLogger(__name__)
RESET_TRIES = 40
_SETTLE_AT_RESET = 10  # frames
_SETTLE_AFTER_MOTION = 6  # frames at most
_CLOSING_FRAMES = (4, 14)  # least and most
_SETTLE_AFTER_OPENING = 6  # frames
# What tasks and perturbations change in a compiled model; restored at every reset.
_CHANGEABLE = (
    *("geom_rgba", "geom_friction", "body_pos", "body_quat", "body_mass", "body_inertia"),
    "body_gravcomp",
    *("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0"),
)


class EpisodeRunner:
    """One task in one simulated scene.

    Attributes:
        config: what was asked for.
        options: those of the simulator.
        controls: the control modes by name.
        instructions: of the running episode.
        on_frame: called after every recorded frame (0.05 s), for demonstrations and videos.
    """

    backend = "embedded"
    controls: Controls = {spec.mode: spec for spec in CONTROLS}

    def __init__(self, config: EnvConfig) -> None:
        self.config = config
        self.task_name = config.task
        self._task_class = task_class(config.task)
        require_cameras(config, CAMERAS)
        self.options = options_of(config, Options)
        self._perturber = perturber_of(config.task, self.options.perturbations)
        self._build: Build | None = None
        self.instructions: list[str] = []
        self.on_frame: Callable[[], None] | None = None
        self._ignore_collisions = False
        self._make(Build())

    def _make(self, build: Build) -> None:
        """Compile the model of `build`, unless it is the present one."""
        if build == self._build:
            return
        config, chosen = self.config, self.options
        options = TaskOptions(
            build.object_scale,
            build.receiver_scale,
            chosen.memory_strict,
            chosen.strict_order,
            build.scales,
        )
        mujoco.set_mju_user_warning(logger.debug)  # or it writes a file where the user stands
        self.task: Task = self._task_class(options)
        fragment = self.task.fragment() + distractors.fragment(build.distractors)
        self.model = mujoco.MjModel.from_xml_string(model_text(fragment))
        self._pristine = copy.copy(self.model)
        self.data = mujoco.MjData(self.model)
        self.robot = Robot(self.model, self.data)
        self.planner = Planner(self.model, self.task.no_obstacles())
        self.camera = RayCamera(self.model, config.image_size)
        frames = self.task.frames(self.model, self.data)
        self.scene = Scene(self.model, self.data, self.robot, frames)
        self.observer = Observer(config, self.model, self.robot, self.camera, self.origin(), frames)
        self._build = build

    def origin(self) -> dict[str, Any]:
        """What demos say of the environment that they were recorded in."""
        return {
            "backend": self.backend,
            "task": self.task_name,
            "perturbations": list(self._perturber.names),
            "scene_version": SCENE_VERSION,
        }

    def variation_count(self) -> int:
        """Number of variations; they are numbered from 0."""
        return variations_of(self._task_class, self._perturber)

    # -------------------------------------------------------------------------- episodes
    def begin_episode(self, variation: int, seed: int) -> None:
        """Start an episode; everything in it is a function of `(seed, variation)`.

        Raises:
            ValueError: there is no such variation, or the seed is negative.
            BoundaryError, WaypointError: no usable scene was found in 40 tries.
        """
        if not 0 <= variation < self.variation_count():
            raise ValueError(
                f"variation: {self.task_name} has 0 to {self.variation_count() - 1}, "
                f"not {variation}"
            )
        if seed < 0:
            raise ValueError(f"seed: {seed} is negative")
        random = np.random.default_rng([seed, variation])
        planning, perturbing = random.spawn(2)
        builds, effects, places = perturbing.spawn(3)
        build = self._perturber.sample_build(builds)
        self._make(build)
        self.planner.random = planning
        self._place_everything(variation, random)
        stage = Stage(self.scene, self.task, self.camera)
        self._perturber.place(stage, build, places)
        self._perturber.apply(stage, effects)
        mujoco.mj_forward(self.model, self.data)
        for _ in range(_SETTLE_AT_RESET):
            self.robot.advance()
        self._ignore_collisions = False

    def _place_everything(self, variation: int, random: np.random.Generator) -> None:
        """Let the task build its scene; unusable ones are sampled again."""
        for attempt in range(RESET_TRIES):
            self.restore()
            self.scene.begin(random)
            try:
                self.instructions = self.task.init_episode(self.scene, variation)
                self.task.place_scene(self.scene)
                mujoco.mj_forward(self.model, self.data)
                self._check_script()
                return
            except (BoundaryError, WaypointError):
                if attempt == RESET_TRIES - 1:
                    raise

    def _check_script(self) -> None:
        """Raise a WaypointError if the arm cannot reach what the script plans, as RLBench does, or
        not as the task needs it."""
        task, data = self.task, self.data
        script = [
            (Pose.from_array(waypoint.pose), waypoint.ignore_collisions)
            for waypoint in task.waypoints(self.scene)
        ]
        self.planner.check_reach(data, [goal for goal, _ in script], may_turn=task.may_turn)
        if task.needs_lines:
            self.planner.check_lines(data, self.robot.target, script)

    def restore(self) -> None:
        """Everything as it was compiled and loaded."""
        for name in _CHANGEABLE:
            getattr(self.model, name)[:] = getattr(self._pristine, name)
        mujoco.mj_resetData(self.model, self.data)
        self.robot.reset()
        self.camera.reset()
        self.scene.begin(self.scene.random)
        mujoco.mj_forward(self.model, self.data)

    # --------------------------------------------------------------------------- actions
    def execute(
        self, action: np.ndarray, *, stop_on_success: bool, opening: float | None = None
    ) -> dict[str, Any]:
        """Plan, move, actuate the gripper; the `info` of a `StepResult`.

        Args:
            action: (9,) of the mode `keyframe_pose`.
            stop_on_success: end the motion as soon as the task is solved.
            opening: 0 to 1, how far the fingers open afterwards; None = as `action` says.

        Raises:
            InvalidActionError: wrong form, no path, or outside the workspace with `clip_targets`
                False. Nothing has changed.
            SimulationError: the physics became unstable; the episode is over.
        """
        action = check_action(action)
        ignore_collisions = bool(action[8] > 0.5)
        started = time.perf_counter()
        path = self._plan(action, ignore_collisions)
        planned = time.perf_counter()
        self._ignore_collisions = ignore_collisions
        frames = self._follow(path, stop_on_success)
        self._actuate_gripper(float(action[7] > 0.5) if opening is None else opening)
        return self._info(path.kind, frames, started, planned)

    def execute_frame(self, action: np.ndarray, spec: ActionSpec) -> dict[str, Any]:
        """Move for one recorded frame (0.05 s) without a planner; the `info` of a `StepResult`.

        Inverse kinematics leads from the present joint targets to the target of the tip, and the
        servos follow as in demonstrations. Where the command of the gripper changes, the frame
        lasts until the fingers rest, as in demonstrations: `frames` counts its 0.05 s.

        Args:
            action: (8,) or (7,), see `spec`. Deltas are added to the pose that the servos hold, the
                last target reached by command, not to the measured one, so that the lag of the
                servos does not add up.
            spec: `EE_POSE` or `EE_DELTA`.

        Raises:
            InvalidActionError: wrong form, or outside the workspace with `clip_targets` False.
            IKError: no joint solution near the present joints. After both nothing has changed.
            SimulationError: the physics became unstable; the episode is over.
        """
        action = check_action(action, spec)
        started = time.perf_counter()
        arm, held = self.planner.arm, self.robot.target
        wanted = target_of(action, spec, arm.tip(held))
        target = next_joints(arm, held, Pose(self._inside(wanted.position), wanted.matrix))
        planned = time.perf_counter()
        frames = self._actuate_gripper(float(spec.is_open(action)), target=target)
        if not frames:
            self._advance(target)
            self._record()
        return self._info("frame", frames or 1, started, planned)

    def _info(self, kind: str, frames: int, started: float, planned: float) -> dict[str, Any]:
        return {
            "success": self.task.success(self.scene),
            "error": None,
            "error_type": None,
            "path_kind": kind,
            "frames": frames,
            "plan_ms": 1e3 * (planned - started),
            "exec_ms": 1e3 * (time.perf_counter() - planned),
            "render_ms": 0.0,
        }

    def _inside(self, position: np.ndarray) -> np.ndarray:
        """`position` (3,) in the workspace; for the errors see `target_inside`."""
        clip = self.options.clip_targets
        return target_inside(position, WORKSPACE_LOW, WORKSPACE_HIGH, clip=clip)

    def announce(self, ignore_collisions: bool) -> None:
        """Set the flag that observations report before the first action."""
        self._ignore_collisions = ignore_collisions

    def _plan(self, action: np.ndarray, ignore_collisions: bool) -> JointPath:
        goal = Pose.from_array(np.concatenate([self._inside(action[:3]), action[3:7]]))
        attempts = [ignore_collisions]
        if not ignore_collisions and self.options.retry_without_collision:
            attempts.append(True)
        for ignore in attempts:
            try:
                return self.planner.plan(
                    (self.model, self.data),
                    self.robot.target,
                    goal,
                    ignore_collisions=ignore,
                    grasps=list(self.robot.grasps.values()),
                )
            except (IKError, ConfigurationPathError) as error:
                failure = error
        raise InvalidActionError(f"{type(failure).__name__}: {failure}") from failure

    def _follow(self, path: JointPath, stop_on_success: bool) -> int:
        """Run along `path`; the number of frames. The last frame is recorded after settling."""
        targets = time_path(path.joints)
        frames = 0
        for target in targets[:-1]:
            self._advance(target)
            frames += 1
            self._record()
            if stop_on_success and self.task.success(self.scene):
                return frames
        self._advance(targets[-1])
        for _ in range(_SETTLE_AFTER_MOTION):
            if self.robot.is_at_rest():
                break
            self._advance()
        self._record()
        return frames + 1

    def _actuate_gripper(self, opening: float, target: np.ndarray | None = None) -> int:
        """Close or open, where that is a change; the number of frames of 0.05 s it took.

        As published, things are attached before the fingers close and released before they open.
        It counts as one recorded frame. In the first one the arm moves to `target` (7,) radians.
        """
        closed = opening <= panda.OPEN_COMMAND
        if closed == self.robot.is_closed:
            return 0
        released = [] if closed else self.robot.release()
        if closed:
            self.robot.grasp(self.task.graspable)
        self.robot.command_fingers(opening)
        least, most = _CLOSING_FRAMES
        for frame in range(most):
            self._advance(target if frame == 0 else None)
            if frame + 1 >= least and self.robot.fingers_are_at_rest():
                break
        if not closed:
            for _ in range(_SETTLE_AFTER_OPENING):
                self._advance()
            for name in released:
                self.task.released(self.scene, name)
        self._record()
        return frame + 1 + (0 if closed else _SETTLE_AFTER_OPENING)

    def wait_for_success(self, frames: int) -> bool:
        """Let at most `frames` frames pass until the task is solved; whether it is."""
        for _ in range(frames):
            if self.task.success(self.scene):
                return True
            self._advance()
            self._record()
        return self.task.success(self.scene)

    def _advance(self, target: np.ndarray | None = None) -> None:
        self.robot.advance(target)
        self.task.step(self.scene)

    def _record(self) -> None:
        if self.on_frame is not None:
            self.on_frame()

    # ---------------------------------------------------------------------- observations
    def observe(self, cameras: Sequence[str] | None = None) -> RecordedObservation:
        """The present observation with images of `cameras` (default: those of the config)."""
        observation = self.low_dimensional()
        for name in self.config.cameras if cameras is None else cameras:
            self.observer.add_image(observation, self.data, name)
        return observation

    def low_dimensional(self) -> RecordedObservation:
        """The present observation without images."""
        return self.observer.low_dimensional(self.data, self._ignore_collisions)
