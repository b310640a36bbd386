"""RLBench: open the bottom, middle or top drawer."""

from __future__ import annotations

from sam2act.envs.embedded.kit.parts import DRAWERS
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene

OPEN = 0.15  # metres


class OpenDrawer(PublishedTask):
    """Variation v asks for drawer v (bottom, middle, top)."""

    variations = len(DRAWERS)
    object_sizes = (0.75, 1.0)
    manipulated = ("drawer_frame", "drawer_legs", *(f"drawer_{place}" for place in DRAWERS))
    resized = ("drawer_frame",)

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The script goes to the asked drawer."""
        frames, self.drawer = scene.frames, DRAWERS[variation]
        frames.move("waypoint1", frames.pose(f"waypoint_anchor_{self.drawer}"))
        self._start = scene.joint(f"drawer_joint_{self.drawer}")
        return [
            f"open the {self.drawer} drawer",
            f"grip the {self.drawer} handle and pull the {self.drawer} drawer open",
            f"slide the {self.drawer} drawer out",
        ]

    def success(self, scene: Scene) -> bool:
        """The asked drawer is open."""
        return abs(scene.joint(f"drawer_joint_{self.drawer}") - self._start) > OPEN
