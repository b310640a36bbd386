"""What the present tells of the past: how variations of a memory task differ after its first part.

The script of a variation is run up to where all should look alike; in all variations of a seed the
same things lie at the same places. What still differs then is all that a policy without memory
could tell the variations from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from sam2act.envs.base import CAMERAS, EnvConfig
from sam2act.envs.embedded.kit.memory import MemoryTask
from sam2act.envs.embedded.options import Options
from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.sim import EmbeddedEnv

LEAST_CONTRAST = 8  # of 255 in any channel, from which on pixels count as different


@dataclass(frozen=True)
class Look:
    """What is seen at a moment, and how it is.

    Attributes:
        images: (H, W, 3) uint8 by camera.
        joints: (7,) angles of the arm, radians.
        things: (N, 3) metres: where blocks that look the same and their corners are, sorted, then
            in x the position of every joint of the scene.
    """

    images: dict[str, np.ndarray]
    joints: np.ndarray
    things: np.ndarray


@dataclass(frozen=True)
class Residue:
    """The largest differences between two or more looks.

    Attributes:
        joints: of the arm, radians.
        things: of positions, metres.
        pixels: by camera, the share that differs by more than `LEAST_CONTRAST`.
    """

    joints: float
    things: float
    pixels: dict[str, float]


def memory_env(task: str, options: Options, image_size: int = 128) -> EmbeddedEnv:
    """The simulator of a memory task with all cameras."""
    env = EmbeddedEnv(EnvConfig(task, cameras=CAMERAS, image_size=image_size, options=options))
    assert isinstance(env.task, MemoryTask), f"{task} needs no memory"
    return env


def looks(env: EmbeddedEnv, variation: int, seed: int) -> list[Look]:
    """At the start, and after each waypoint after which all variations should look alike.

    What is placed at random lies at the same places in all variations of a seed.
    """
    assert isinstance(env.task, MemoryTask)
    env.begin_episode(0, seed)
    env.task.begin(env.scene, variation)
    mujoco.mj_forward(env.model, env.data)
    found, steps = [_look(env)], env.task.alike()
    for number, waypoint in enumerate(env.task.waypoints(env.scene)):
        env.execute(waypoint.action, stop_on_success=False, opening=waypoint.opening)
        if number in steps:
            found.append(_look(env))
        if number == max(steps):
            break
    return found


def _look(env: EmbeddedEnv) -> Look:
    blocks = [_corners(env, name) for name in env.task.graspable]
    blocks.sort(key=lambda corners: float(corners[:, 1].sum()))
    positions = [(position, 0.0, 0.0) for position in _positions_of_joints(env)]
    observed = vars(env.observe())
    return Look(
        {name: observed[f"{name}_rgb"] for name in CAMERAS},
        observed["joint_positions"],
        np.concatenate([*blocks, np.array(positions)]),
    )


def _positions_of_joints(env: EmbeddedEnv) -> list[float]:
    """Metres or radians of every slide and hinge but those of the robot."""
    robot = {env.model.body(name).id for name in panda.ROBOT_BODIES}
    moved = np.isin(env.model.jnt_type, (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE))
    chosen = [j for j in np.flatnonzero(moved) if int(env.model.jnt_bodyid[j]) not in robot]
    return env.data.qpos[env.model.jnt_qposadr[chosen]].tolist()


def _corners(env: EmbeddedEnv, block: str) -> np.ndarray:
    """(4, 3) metres: the middle of a block and of three of its faces."""
    frames = env.scene.frames
    pose, size = frames.pose(block), frames.facts.shape(block).size
    offsets = np.vstack([np.zeros(3), np.diag(size) / 2])
    return offsets @ pose[:3, :3].T + pose[:3, 3]


def residue(seen: Sequence[Look]) -> Residue:
    """How much looks at the same moment of several variations differ at most from the first."""
    first, *others = seen
    return Residue(
        float(max(np.abs(look.joints - first.joints).max() for look in others)),
        float(max(np.abs(look.things - first.things).max() for look in others)),
        {name: max(_share(look, first, name) for look in others) for name in CAMERAS},
    )


def _share(one: Look, other: Look, camera: str) -> float:
    first, second = (look.images[camera].astype(int) for look in (one, other))
    return float((np.abs(first - second).max(axis=-1) > LEAST_CONTRAST).mean())
