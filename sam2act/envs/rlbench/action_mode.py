"""How a keyframe action is executed in RLBench (the published evaluation, step by step).

`KeyframeMotion` moves the arm; `build_action_mode` wraps it into what RLBench expects. The gripper
is left to RLBench's own `Discrete` mode. World frame, metres, quaternions xyzw.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sam2act.envs.base import (
    ACTION_SIZE,
    ConfigurationPathError,
    IKError,
    InvalidActionError,
    target_inside,
)
from sam2act.envs.rlbench.errors import translated

WORKSPACE_MARGIN = 0.2  # metres around the footprint of the shape `workspace`
WORKSPACE_HEIGHT = 1.0  # metres above it
_PLANNING = {"trials": 100, "max_configs": 10, "max_time_ms": 10, "trials_per_goal": 5}


class KeyframeMotion:
    """Plans to a pose and follows the path.

    Attributes:
        on_step: called after every simulation step of a path.
        info: of the last motion: `path_kind`, `frames`, `plan_ms`, `exec_ms`.
    """

    def __init__(
        self, *, clip_targets: bool, retry_without_collision: bool, stop_on_success: bool
    ) -> None:
        self._clip = clip_targets
        self._retry = retry_without_collision
        self._stop = stop_on_success
        self.on_step: Callable[[], None] | None = None
        self.info: dict[str, Any] = {}

    def move(self, scene: Any, pose: np.ndarray, *, ignore_collisions: bool) -> None:
        """Bring the tip to `pose` (7,), whose position is moved into the workspace if need be.

        Args:
            scene: RLBench's scene.
            pose: position and unit quaternion.
            ignore_collisions: plan through obstacles.

        Raises:
            InvalidActionError: there is no path, or the position lies outside the workspace and
                is not to be moved.
        """
        started = time.perf_counter()
        position = target_inside(pose[:3], *workspace_box(), clip=self._clip)
        pose = np.concatenate([position, pose[3:]])
        if not ignore_collisions:
            _free_touched_shapes(scene)
        path, kind = self._plan(scene, pose, ignore_collisions)
        planned = time.perf_counter()
        frames = self._follow(scene, path)
        self.info = {
            "path_kind": kind,
            "frames": frames,
            "plan_ms": 1e3 * (planned - started),
            "exec_ms": 1e3 * (time.perf_counter() - planned),
        }

    def _plan(self, scene: Any, pose: np.ndarray, ignore_collisions: bool) -> tuple[Any, str]:
        from pyrep.const import ConfigurationPathAlgorithms

        attempts = [ignore_collisions]
        if not ignore_collisions and self._retry:
            attempts.append(True)
        for ignore in attempts:
            try:
                with translated():
                    path = scene.robot.arm.get_path(
                        pose[:3],
                        quaternion=pose[3:],
                        ignore_collisions=ignore,
                        algorithm=ConfigurationPathAlgorithms.RRTConnect,
                        **_PLANNING,
                    )
                return path, "ignoring collisions" if ignore else "free"
            except (IKError, ConfigurationPathError) as error:
                failure = error
        raise InvalidActionError(f"{type(failure).__name__}: {failure}") from failure

    def _follow(self, scene: Any, path: Any) -> int:
        """Run along `path`, until success if that is wanted; the number of simulation steps."""
        frames, done = 0, False
        while not done:
            done = path.step()
            scene.step()
            frames += 1
            if self.on_step is not None:
                self.on_step()
            if self._stop and scene.task.success()[0]:
                break
        return frames


def workspace_box() -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner (3,) of where RLBench accepts targets, metres."""
    from pyrep.objects.shape import Shape

    workspace = Shape("workspace")
    x, y, z = workspace.get_position()
    low_x, high_x, low_y, high_y = workspace.get_bounding_box()[:4]
    low = np.array([x - abs(low_x) - WORKSPACE_MARGIN, y - abs(low_y) - WORKSPACE_MARGIN, z])
    high = np.array(
        [x + high_x + WORKSPACE_MARGIN, y + high_y + WORKSPACE_MARGIN, z + WORKSPACE_HEIGHT]
    )
    return low, high


def _free_touched_shapes(scene: Any) -> None:
    """Take what the arm touches already out of collision checking.

    Quirk: as in the published evaluation, the shapes stay out of it afterwards.
    """
    from pyrep.const import ObjectType

    arm = scene.robot.arm
    if not arm.check_arm_collision():
        return
    own = arm.get_objects_in_tree(object_type=ObjectType.SHAPE)
    held = scene.robot.gripper.get_grasped_objects()
    for shape in scene.pyrep.get_objects_in_tree(object_type=ObjectType.SHAPE):
        if not shape.is_collidable() or shape in own or shape in held:
            continue
        if arm.check_arm_collision(shape):
            shape.set_collidable(False)


def build_action_mode(motion: KeyframeMotion) -> Any:
    """RLBench's action mode for actions (9,): `motion`, then the discrete gripper."""
    from rlbench.action_modes.action_mode import MoveArmThenGripper
    from rlbench.action_modes.arm_action_modes import EndEffectorPoseViaPlanning
    from rlbench.action_modes.gripper_action_modes import Discrete

    class KeyframeActionMode(MoveArmThenGripper):  # type: ignore[misc]  # RLBench has no types
        """The collision flag is part of the action, which upstream RLBench does not know."""

        def action(self, scene: Any, action: np.ndarray) -> None:
            """Move the arm, then actuate the gripper."""
            motion.move(scene, action[:7], ignore_collisions=bool(action[8]))
            self.gripper_action_mode.action(scene, np.array(action[7:8]))

        def action_shape(self, scene: Any) -> int:
            """Number of values of an action."""
            return ACTION_SIZE

    # RLBench asks the arm mode how to control the joints; the path is followed by `motion`.
    return KeyframeActionMode(EndEffectorPoseViaPlanning(absolute_mode=True), Discrete())
