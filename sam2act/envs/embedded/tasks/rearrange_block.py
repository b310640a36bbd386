"""MemoryBench: the centre block to the empty patch, the button, the other block to the centre."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.memory_blocks import CENTER, MemoryBlocks
from sam2act.envs.embedded.kit.mjcf import Fragment, grasp_weld
from sam2act.envs.embedded.kit.parts import CUBE_HALF, button, cube, patch
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import LatchedConditions, Waypoint
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

PATCHES = (np.array([0.25, -0.18]), np.array([0.25, 0.18]))


class RearrangeBlock(MemoryBlocks):
    """Variation v starts with block1 on patch v and block2, which looks the same, in the centre."""

    variations = 2
    graspable = ("block1", "block2")
    manipulated = ("block1", "block2")
    lookalikes = ("box",)
    receivers = ("target1", "target2")
    slots = (*PATCHES, CENTER)

    def fragment(self) -> Fragment:
        """Two patches, two blocks and a button."""
        patches = "".join(patch(name) for name in self.receivers)
        blocks = "".join(cube(name) for name in self.graspable)
        welds = "".join(grasp_weld(name) for name in self.graspable)
        return Fragment(patches + blocks + button(), welds)

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The button lies at a random place beyond the blocks."""
        self.occupied, self.empty = PATCHES[variation], PATCHES[1 - variation]
        self._done = LatchedConditions(3, ordered=self.options.strict_order)
        for name, spot in zip(self.receivers, PATCHES, strict=True):
            scene.place(name, (*spot, TABLE_HEIGHT))
        for name, spot in (("block1", self.occupied), ("block2", CENTER)):
            scene.place(name, (*spot, TABLE_HEIGHT + CUBE_HALF))
        button_spot = (scene.random.uniform(0.38, 0.44), scene.random.uniform(-0.2, 0.2))
        scene.place("button", (*button_spot, TABLE_HEIGHT))
        return [
            "Move the block not on the patch to the empty patch, then press the button, then move "
            "the block that has not been moved off the patch"
        ]

    def step(self, scene: Scene) -> None:
        """Latch: block2 left the centre, the button was pressed, block1 left its patch.

        Quirk: in the published environment the order does not matter; with `strict_order` it does.
        """
        self._done.update(
            self.has_left(scene, "block2", CENTER),
            self.is_pressed(scene),
            self.has_left(scene, "block1", self.occupied),
        )

    def success(self, scene: Scene) -> bool:
        """All three latched, the blocks at their new places, released."""
        in_place = self.is_at(scene, "block2", self.empty) and self.is_at(scene, "block1", CENTER)
        return self._done.all_met and in_place and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Ten keyframes."""
        yield from self.pick(CENTER)
        yield from self.put(self.empty)
        yield from self.press(scene)
        yield from self.pick(self.occupied)
        yield from self.put(CENTER)
