"""What environments that report RLBench's observations share, and what their demos must say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sam2act.core.actions import ActionSpec
from sam2act.core.specs import (
    FINGER_JOINTS,
    GRIPPER_OPEN,
    GRIPPER_POSE,
    JOINT_POSITIONS,
    EnvSpec,
)
from sam2act.data.rlbench.types import Demo
from sam2act.envs.base import CAMERAS, EnvConfig, offered_cameras

_OLDEST = {"scene_version": 1}  # what demos that do not say it have
RECORDED_STATE = (GRIPPER_OPEN, FINGER_JOINTS, GRIPPER_POSE, JOINT_POSITIONS)
RLBENCH = "rlbench"  # whose demos do not say where they come from


def recorded_spec(config: EnvConfig, actions: tuple[ActionSpec, ...]) -> EnvSpec:
    """What an environment of `config` with RLBench's cameras and robot gives and takes.

    An episode lasts as long as the evaluation lets it; the reward is 1 on success, else 0.
    """
    cameras = offered_cameras(config, CAMERAS)
    return EnvSpec(camera_specs=cameras, state=RECORDED_STATE, actions=actions)


def recorded_origin(demo: Demo) -> dict[str, Any]:
    """What the first frame of `demo` says of its environment: backend, task, perturbations."""
    misc = getattr(demo[0], "misc", None) if len(demo) else None
    return {"backend": RLBENCH} | (misc if isinstance(misc, dict) else {})


def check_origin(demo: Demo, here: Mapping[str, Any]) -> None:
    """Make sure that `demo` was recorded in an environment like the present one.

    Args:
        demo: a recorded demo.
        here: what must be equal; a demo of the embedded simulator says all of its `origin()`.

    Raises:
        ValueError: it comes from another simulator, task or set of perturbations.
    """
    recorded = recorded_origin(demo)
    for key, wanted in here.items():
        found = recorded.get(key, _OLDEST.get(key, "unknown"))
        if found != wanted:
            raise ValueError(
                f"this demo was recorded with {key} {found}, but this environment has {wanted}: "
                f"its scene cannot be restored here{_way_on(key, found)}"
            )


def _way_on(key: str, found: Any) -> str:
    """What helps against a difference in `key`; empty where nothing does."""
    if key == "scene_version":
        return (
            "; the layout of the task has changed since: record demos again (sam2act demos); "
            "training still takes the old ones"
        )
    if key != "perturbations" or not isinstance(found, list | tuple) or not found:
        return ""
    return f"; --perturb {' '.join(found)} perturbs the environment in the same way"


def plain_seed(seed: object) -> int:
    """`seed` as the number of a scene of the embedded simulator.

    Raises:
        ValueError: it is no natural number.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(
            f"random_seed: scenes of the embedded simulator have a natural number, not "
            f"{type(seed).__name__} {str(seed)[:40]}"
        )
    return int(seed)


def restore_random_state(random_state: Any, generator: Any = np.random) -> None:
    """Set a generator to a Mersenne-Twister state, or seed it with an integer.

    Args:
        random_state: as a demo stores it.
        generator: numpy's global one, from which RLBench draws, or a `RandomState`.

    Raises:
        ValueError: it is neither.
    """
    try:
        if isinstance(random_state, (int, np.integer)):
            generator.seed(int(random_state))
        else:
            generator.set_state(random_state)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ValueError(
            f"random_seed: the demo holds no state of numpy's generator ({error}), so its scene "
            "cannot be restored; record it again"
        ) from error
