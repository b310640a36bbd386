"""RLBench: open one of three drawers."""

from __future__ import annotations

from collections.abc import Iterator

from sam2act.envs.embedded.kit.drawer_parts import OPEN, pull_open, spawn_chest
from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.parts import DRAWERS, drawer_unit
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Task, Waypoint


class OpenDrawer(Task):
    """Variation v asks for drawer v (bottom, middle, top)."""

    variations = 3
    manipulated = tuple(f"drawer_{place}" for place in DRAWERS)

    def fragment(self) -> Fragment:
        """A chest of drawers."""
        return Fragment(drawer_unit())

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The chest in a random place, all drawers shut."""
        self.place = DRAWERS[variation]
        spawn_chest(scene)
        return [
            f"open the {self.place} drawer",
            f"grip the {self.place} handle and pull the {self.place} drawer open",
            f"slide the {self.place} drawer out",
        ]

    def success(self, scene: Scene) -> bool:
        """The asked drawer is open."""
        return scene.joint(f"drawer_joint_{self.place}") > OPEN

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Three keyframes."""
        yield from pull_open(scene, self.place, release=False)
