"""MemoryBench: close the open drawer, press the button, open the same drawer again."""

from __future__ import annotations

from sam2act.envs.embedded.kit.memory import BUTTON, MemoryBenchTask, shut_drawers
from sam2act.envs.embedded.kit.parts import DRAWERS
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import LatchedConditions

STARTS_AT, CLOSED = 0.21, 0.02  # metres that the drawer is open; below which it counts as closed
_JOINTS = tuple(f"drawer_joint_{place}" for place in DRAWERS)


class ReopenDrawer(MemoryBenchTask):
    """Variation v starts with drawer v (bottom, middle, top) open."""

    variations = len(DRAWERS)
    manipulated = ("drawer_frame", "drawer_legs", *(f"drawer_{place}" for place in DRAWERS))
    receivers = (BUTTON,)

    def begin(self, scene: Scene, variation: int) -> list[str]:
        """One drawer is open; the script goes to it."""
        frames, place = scene.frames, DRAWERS[variation]
        self.drawer, self.joint = f"drawer_{place}", f"drawer_joint_{place}"
        self._done = LatchedConditions(3, ordered=True)
        for joint in _JOINTS:
            scene.set_joint(joint, STARTS_AT if joint == self.joint else 0.0)
        height = frames.pose(f"waypoint_anchor_{place}")[2, 3]
        for number in (0, 1, 6, 7, 8):
            pose = frames.pose(f"waypoint{number}")
            pose[2, 3] = height
            frames.move(f"waypoint{number}", pose)
        return ["Close the opened drawer, push the button, and then open the previous drawer again"]

    def step(self, scene: Scene) -> None:
        """Latch in this order: the drawer was closed, the button pressed, the drawer opened."""
        if self.options.memory_strict:
            shut_drawers(scene, _JOINTS)
        self._done.update(
            scene.joint(self.joint) < CLOSED,
            self.is_pressed(scene),
            scene.detects("success", self.drawer),
        )

    def success(self, scene: Scene) -> bool:
        """All three in this order. Quirk: the other drawers may be open, as published."""
        return self._done.all_met
