"""MemoryBench: move the block from its patch to the centre, press the button, put it back."""

from __future__ import annotations

import numpy as np

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.kit.memory import MemoryBenchTask, move_over
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import LatchedConditions

_CENTER = "waypoint3"  # where the script puts the block down
_AREA = np.array([[0.05, -0.02], [0.42, 0.35]])  # metres: corners of where scattered patches lie
_SPACE = 0.11  # metres between scattered patches, along one axis at least


class PutBlockBack(MemoryBenchTask):
    """Variation v starts with the block on patch v + 1."""

    variations = 4
    graspable = ("block",)
    manipulated = ("block",)
    lookalikes = ("box",)
    receivers = tuple(f"target{number}" for number in range(1, 5))
    places = (*receivers, _CENTER)

    def begin(self, scene: Scene, variation: int) -> list[str]:
        """Block and script go to the patch of this variation."""
        self.home = f"success{variation + 1}"
        self._done = LatchedConditions(3, ordered=self.options.strict_order)
        moved = ("block", "waypoint1", "waypoint10", "waypoint11")
        move_over(scene, moved, f"target{variation + 1}")
        return [
            "move the block on the color patch to the center, then press the button, and finally "
            "move the block back to where it was placed"
        ]

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


class ScatteredPatches(PutBlockBack):
    """Patches lie anywhere: a place that varies is to be remembered, not one of four known ones."""

    def lay_out(self, scene: Scene) -> None:
        """Patches and button."""
        super().lay_out(scene)
        taken = [scene.frames.pose(_CENTER)[:2, 3]]
        for name in self.receivers:
            pose = scene.frames.pose(name)
            pose[:2, 3] = _free_spot(scene.random, taken)
            scene.frames.move(name, pose)
            taken.append(pose[:2, 3])


def _free_spot(random: np.random.Generator, taken: list[np.ndarray]) -> np.ndarray:
    """(2,) metres, far enough from all spots in `taken`.

    Raises:
        BoundaryError: none of 100 is.
    """
    for _ in range(100):
        spot = random.uniform(*_AREA)
        if all(np.abs(spot - other).max() > _SPACE for other in taken):
            return spot
    raise BoundaryError("no free place for a patch")


VARIANTS = {"scattered": ScatteredPatches}
