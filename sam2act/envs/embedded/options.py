"""What can be chosen in the embedded simulator."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.core.actions import EE_DELTA, EE_POSE, KEYFRAME_POSE

# Grows when scenes change, so that demos of older ones are not taken for today's.
SCENE_VERSION = 2
CONTROLS = (KEYFRAME_POSE, EE_POSE, EE_DELTA)


@dataclass(frozen=True)
class Options:
    """Options of the embedded simulator.

    Attributes:
        perturbations: names of perturbation factors, empty = none.
        memory_strict: remove what would give the past away (MemoryBench tasks).
        strict_order: MemoryBench conditions count in the described order only.
        clip_targets: move positions outside the workspace into it, as published; False = refuse
            such an action.
        retry_without_collision: plan once more ignoring collisions before giving up.
        stop_on_success: `step` ends a planned motion as soon as the task is solved.
    """

    perturbations: tuple[str, ...] = ()
    memory_strict: bool = True
    strict_order: bool = False
    clip_targets: bool = True
    retry_without_collision: bool = True
    stop_on_success: bool = True
