"""Recorded demonstrations as one action per frame, and their replay in closed loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam2act.core.actions import EE_DELTA
from sam2act.data.rlbench.dense_actions import pose_actions, require_dense
from sam2act.data.rlbench.types import Demo, DemoError
from sam2act.envs.base import Env, EnvError, restorable

HOLD_FRAMES = 10  # frames that the last target is held, until things rest


def dense_actions(demo: Demo, control: str) -> np.ndarray:
    """The actions that lead from each recorded frame to the next one.

    Args:
        demo: F frames, recorded every 0.05 s; images are not needed.
        control: `ee_pose` or `ee_delta`.

    Returns:
        (F - 1, 8) or (F - 1, 7), as `pose_actions` says.

    Raises:
        ConfigError: another control mode.
        DemoError: fewer than two frames.
    """
    require_dense(control)
    if len(demo) < 2:
        raise DemoError(f"demo: {len(demo)} frames hold no action; two are the least")
    poses = np.array([frame.gripper_pose for frame in demo], np.float64)
    return pose_actions(poses, np.array([frame.gripper_open for frame in demo]), control)


def held_action(action: np.ndarray, control: str) -> np.ndarray:
    """The action that stays where `action` led: the same pose, or no motion; the same gripper."""
    held = action.copy()
    if control == EE_DELTA.mode:
        held[:-1] = 0.0
    return held


@dataclass(frozen=True)
class Replay:
    """How the replay of a demonstration ended.

    Attributes:
        success: whether the task was solved.
        steps: actions executed.
        error: what ended it early; empty if nothing did.
    """

    success: bool
    steps: int
    error: str = ""


def replay(env: Env, demo: Demo, control: str) -> Replay:
    """Execute the dense actions of `demo` in its scene until the task is solved.

    The last target is held for at most `HOLD_FRAMES` more steps, because the last frame of a
    recorded motion is one at rest.

    Raises:
        ConfigError: another control mode.
        DemoError: fewer than two frames.
        ValueError: the demo comes from another environment.
    """
    actions = dense_actions(demo, control)
    held = held_action(actions[-1], control)
    restorable(env).reset_to_demo(demo)
    threshold = env.spec.success_threshold
    steps = 0
    for steps, action in enumerate([*actions, *[held] * HOLD_FRAMES], start=1):
        try:
            result = env.step(action, control)
        except EnvError as error:
            return Replay(False, steps, f"{type(error).__name__}: {error}")
        if result.reward >= threshold:
            return Replay(True, steps)
    return Replay(False, steps)
