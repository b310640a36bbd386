"""Small observations, and scripted actions of episodes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from sam2act.data.rlbench.dense_actions import pose_actions
from sam2act.data.rlbench.keyframes import demo_keyframes
from sam2act.envs.base import EnvConfig, scripted
from sam2act.envs.registry import make_env

pytest.importorskip("gymnasium", reason="needs the extra `gym`")
pytest.importorskip("mujoco", reason="needs the extra `sim`")

SMALL: dict[str, Any] = {"image_size": 16, "cameras": ("front",)}


@functools.lru_cache(maxsize=64)
def scripted_actions(task: str, control: str, variation: int, seed: int) -> np.ndarray:
    """(N, A): what solves the scene, one row per step, read from a scripted demonstration."""
    env = scripted(make_env(EnvConfig(task, cameras=())))
    demo = env.get_demo(variation, seed, "none")
    poses = np.stack([frame.gripper_pose for frame in demo])
    gripper = np.array([float(frame.gripper_open) for frame in demo])
    if control != "keyframe":
        return pose_actions(poses, gripper, control)
    keyframes = np.array(demo_keyframes(demo))
    ignore = np.array([float(frame.ignore_collisions) for frame in demo])
    return np.column_stack([poses[keyframes], gripper[keyframes], ignore[keyframes - 1]])
