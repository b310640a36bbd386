"""MemoryBench: move the block from its patch to the centre, press the button, put it back."""

from __future__ import annotations

from sam2act.envs.embedded.kit.memory import MemoryTask, align_block, move_over
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import LatchedConditions

_CENTER = "waypoint3"  # where the script puts the block down


class PutBlockBack(MemoryTask):
    """Variation v starts with the block on patch v + 1."""

    variations = 4
    graspable = ("block",)
    manipulated = ("block",)
    lookalikes = ("box",)
    receivers = tuple(f"target{number}" for number in range(1, 5))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The button lies at a random place, turned at random."""
        self.home = f"success{variation + 1}"
        self._done = LatchedConditions(3, ordered=self.options.strict_order)
        self.place_button(scene)
        moved = ("block", "waypoint1", "waypoint10", "waypoint11")
        move_over(scene, moved, f"target{variation + 1}")
        self._height = scene.frames.pose("block")[2, 3]
        return [
            "move the block on the color patch to the center, then press the button, and finally "
            "move the block back to where it was placed"
        ]

    def released(self, scene: Scene, body: str) -> None:
        """Where the block was put down tells nothing of where it came from."""
        if self.options.memory_strict:
            align_block(scene, body, self._height, (*self.receivers, _CENTER))

    def step(self, scene: Scene) -> None:
        """Latch: the block left its patch, was at the centre, the button was pressed.

        Quirk: in the published environment the order does not matter; with `strict_order` it does.
        """
        self._done.update(
            not scene.detects(self.home, "block"),
            scene.detects("success0", "block"),
            self.is_pressed(scene),
        )

    def success(self, scene: Scene) -> bool:
        """All three latched, and the block is on its patch again, released."""
        return self._done.all_met and scene.detects(self.home, "block") and scene.holds_nothing
