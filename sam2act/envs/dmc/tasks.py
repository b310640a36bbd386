"""The eight tasks that SAM-G is evaluated on, and what is known of them without a simulator."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.core.actions import ActionSpec, Component

CAMERA = "camera"
CONTROL = "raw"


@dataclass(frozen=True)
class ControlTask:
    """One task.

    Attributes:
        domain: of dm_control's suite.
        name: in the domain.
        actions: numbers of an action.
        timestep: seconds per frame.
        camera: number of the camera that agents see through.
    """

    domain: str
    name: str
    actions: int
    timestep: float
    camera: int = 0

    def action_spec(self, repeat: int) -> ActionSpec:
        """Actions in [-1, 1], each lasting `repeat` frames."""
        part = Component("action", self.actions, "of its range", "", -1.0, 1.0)
        return ActionSpec(CONTROL, (part,), rate=1 / (self.timestep * repeat))


TASKS = {
    f"{task.domain}_{task.name}": task
    for task in (
        ControlTask("walker", "walk", 6, 0.025),
        ControlTask("walker", "stand", 6, 0.025),
        ControlTask("cartpole", "swingup", 1, 0.01),
        ControlTask("ball_in_cup", "catch", 2, 0.02),
        ControlTask("finger", "spin", 2, 0.02),
        ControlTask("cheetah", "run", 6, 0.01),
        ControlTask("hopper", "hop", 4, 0.02),
        ControlTask("quadruped", "walk", 12, 0.02, camera=2),
    )
}
