"""What can be chosen in RLBench."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of RLBench in CoppeliaSim.

    Attributes:
        clip_targets: move positions outside the workspace into it, as published; False = refuse
            such an action.
        retry_without_collision: plan once more ignoring collisions before giving up.
        stop_on_success: `step` ends a motion as soon as the task is solved.
        headless: open no window.
    """

    clip_targets: bool = True
    retry_without_collision: bool = True
    stop_on_success: bool = True
    headless: bool = True
