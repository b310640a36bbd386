"""The task: a red hand moves to a green goal in the unit square, seen from above."""

from __future__ import annotations

import dataclasses

import numpy as np

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.specs import CameraSpec, EnvSpec

INSTRUCTION, CAMERA = "reach the green goal", "top"
TASK = "reach_goal"
BY_MOTIONS = "reach_by_motions"  # an action takes as long as its motion
SILENTLY = "reach_silently"  # nobody tells what to do
TASKS = (TASK, BY_MOTIONS, SILENTLY)
MOST_PIXELS = 64  # per side
LONGEST_STEP = 0.1  # metres per action
EPISODE_LENGTH = 20
THRESHOLD = 0.95  # of the reward, which is 1 at the goal and falls by 1 per metre
POSITION = Component("xy", 2, "m", "world")
RAW = ActionSpec("raw", (Component("step", 2, "m", "world"),), rate=10.0)


def spec(task: str, image_size: int) -> EnvSpec:
    """What episodes of a task give and take; the camera has a limit."""
    image_size = min(image_size, MOST_PIXELS)
    return EnvSpec(
        camera_specs=(CameraSpec(CAMERA, image_size, image_size, depth=False),),
        state=(POSITION,),
        actions=(dataclasses.replace(RAW, rate=None) if task == BY_MOTIONS else RAW,),
        episode_length=EPISODE_LENGTH,
        success_threshold=THRESHOLD,
        instructions=task != SILENTLY,
    )


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(2,) hand and (2,) goal."""
    points = np.random.default_rng(seed).uniform(0.15, 0.85, (2, 2))
    return points[0], points[1]


def expert(hand: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """(2,) the step of an expert."""
    return np.clip(goal - hand, -LONGEST_STEP, LONGEST_STEP)


def picture(hand: np.ndarray, goal: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3) uint8: a red blot and a green one."""
    axis = (np.arange(side) + 0.5) / side
    image = np.zeros((side, side, 3))
    for channel, (x, y) in enumerate((hand, goal)):
        image[..., channel] = np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / 0.01)
    return np.round(255 * image).astype(np.uint8)
