"""MemoryBench: the centre block to the empty patch, the button, the other block to the centre."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sam2act.envs.embedded.kit.memory import MemoryBenchTask, move_over
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import LatchedConditions, Waypoint

_CENTER = "success0"


class RearrangeBlock(MemoryBenchTask):
    """Variation v starts with block1 on patch v + 1 and block2, which looks the same, in the
    centre."""

    variations = 2
    graspable = ("block1", "block2")
    manipulated = ("block1", "block2")
    lookalikes = ("box",)
    receivers = ("target1", "target2")
    places = (*receivers, _CENTER)
    deviations = {
        "waypoint6.ignore_collisions": "Where no straight way leads from the button to block1, "
        "the way that planned motions take instead would sweep block2 off its patch."
    }

    def begin(self, scene: Scene, variation: int) -> list[str]:
        """Blocks and script go to the patches of this variation."""
        occupied, empty = 1 + variation, 2 - variation
        self.occupied, self.empty = f"success{occupied}", f"success{empty}"
        self._done = LatchedConditions(3, ordered=self.options.strict_order)
        move_over(scene, ("block1", "waypoint8"), f"target{occupied}")
        move_over(scene, ("waypoint2", "waypoint3"), f"target{empty}")
        return [
            "Move the block not on the patch to the empty patch, then press the button, then move "
            "the block that has not been moved off the patch"
        ]

    def step(self, scene: Scene) -> None:
        """Latch: block2 left the centre, the button was pressed, block1 left its patch.

        Quirk: in the published environment the order does not matter; with `strict_order` it does.
        """
        self._done.update(
            not scene.detects(_CENTER, "block2"),
            self.is_pressed(scene),
            not scene.detects(self.occupied, "block1"),
        )

    def success(self, scene: Scene) -> bool:
        """All three latched, the blocks at their new places, released."""
        in_place = scene.detects(self.empty, "block2") and scene.detects(_CENTER, "block1")
        return self._done.all_met and in_place and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """The published ones; the way over block1 avoids block2."""
        for number, waypoint in enumerate(super().waypoints(scene)):
            yield replace(waypoint, ignore_collisions=False) if number == 6 else waypoint
