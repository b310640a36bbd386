"""MemoryBench: move the block from its patch to the centre, press the button, put it back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.memory_blocks import CENTER, MemoryBlocks
from sam2act.envs.embedded.kit.mjcf import Fragment, grasp_weld
from sam2act.envs.embedded.kit.parts import CUBE_HALF, button, cube, patch
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import LatchedConditions, Waypoint
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

PATCHES = tuple(np.array([x, y]) for x in (0.11, 0.39) for y in (-0.18, 0.18))


class PutBlockBack(MemoryBlocks):
    """Variation v starts with the block on patch v."""

    variations = 4
    graspable = ("block",)
    manipulated = ("block",)
    lookalikes = ("box",)
    receivers = tuple(f"target{number}" for number in range(1, 5))
    slots = (*PATCHES, CENTER)

    def fragment(self) -> Fragment:
        """Four patches, a block and a button."""
        patches = "".join(patch(name) for name in self.receivers)
        return Fragment(patches + cube("block") + button(), grasp_weld("block"))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The button lies at a random place on one of the two sides."""
        self.home = PATCHES[variation]
        self._done = LatchedConditions(3, ordered=self.options.strict_order)
        for name, spot in zip(self.receivers, PATCHES, strict=True):
            scene.place(name, (*spot, TABLE_HEIGHT))
        scene.place("block", (*self.home, TABLE_HEIGHT + CUBE_HALF))
        side = scene.random.choice([-1, 1])
        button_spot = (scene.random.uniform(0.20, 0.30), side * scene.random.uniform(0.30, 0.36))
        scene.place("button", (*button_spot, TABLE_HEIGHT))
        return [
            "move the block on the color patch to the center, then press the button, and finally "
            "move the block back to where it was placed"
        ]

    def step(self, scene: Scene) -> None:
        """Latch: the block left its patch, was at the centre, the button was pressed.

        Quirk: in the published environment the order does not matter; with `strict_order` it does.
        """
        self._done.update(
            self.has_left(scene, "block", self.home),
            self.is_at(scene, "block", CENTER),
            self.is_pressed(scene),
        )

    def success(self, scene: Scene) -> bool:
        """All three latched, and the block lies on its patch again, released."""
        at_home = self.is_at(scene, "block", self.home)
        return self._done.all_met and at_home and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Eleven keyframes."""
        yield from self.pick(self.home)
        yield from self.put(CENTER)
        yield self.leave(CENTER)
        yield from self.press(scene)
        yield from self.pick(CENTER)
        yield from self.put(self.home)
