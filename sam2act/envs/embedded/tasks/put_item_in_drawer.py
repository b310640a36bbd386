"""RLBench: open a drawer and put the item from the top of the chest into it."""

from __future__ import annotations

from sam2act.envs.embedded.kit.parts import DRAWERS
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene


class PutItemInDrawer(PublishedTask):
    """Variation v asks for drawer v (bottom, middle, top)."""

    variations = len(DRAWERS)
    graspable = ("item",)
    manipulated = ("item",)
    receivers = tuple(f"drawer_{place}" for place in DRAWERS)
    lookalikes = ("box",)
    resized = ("item",)
    object_sizes = (0.75, 1.25)
    may_turn = True

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The script goes to the asked drawer."""
        frames, self.drawer = scene.frames, DRAWERS[variation]
        frames.move("waypoint2", frames.pose(f"waypoint_anchor_{self.drawer}"))
        return [
            f"put the item in the {self.drawer} drawer",
            f"open the {self.drawer} drawer and drop the cube into it",
            f"store the cube from the top of the chest in the {self.drawer} drawer",
            f"the cube on the chest belongs into its {self.drawer} drawer",
        ]

    def success(self, scene: Scene) -> bool:
        """Some part of the item is in the asked drawer, held or not."""
        return scene.detects(f"success_{self.drawer}", "item")
