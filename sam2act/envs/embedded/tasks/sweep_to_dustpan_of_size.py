"""RLBench: sweep the dirt into the dustpan of the named size with a broom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from sam2act.envs.embedded.kit.assembly import Look
from sam2act.envs.embedded.kit.facts import Solid
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.vessels import solid_at

SIZES = ("tall", "short")
DIRT = tuple(f"dirt{number}" for number in range(5))
POLES = ("Dustpan_5", "Dustpan_6")
VISUAL_BROOM = "sweep_to_dustpan_broom_visual"
# Metres: the wall of a pan; what is seen of the stick and of the head of the broom.
_PAN_WALL, _STICK, _HEAD = 0.004, (0.013, 0.013, 0.627), (0.2828, 0.033, 0.0375)

_SMOOTH = 0.25  # friction, as published of two bodies together


class SweepToDustpanOfSize(PublishedTask):
    """Variation v asks for the tall (0) or the short (1) pan."""

    variations = len(SIZES)
    graspable = ("broom",)
    manipulated = (VISUAL_BROOM,)
    receivers = tuple(f"dustpan_{size}" for size in SIZES)
    deviations: ClassVar[Mapping[str, str]] = {
        **{f"{piece}.mass": "The published 0 is round-off; 10 g are stable." for piece in DIRT},
        f"{VISUAL_BROOM}.size": "The seen head ends where the solid one does, 3 mm higher.",
    }

    def looks(self) -> Mapping[str, Look]:
        """Pans with poles, and a broom."""
        looks = {f"dustpan_{size}": Look(solids=self._pan(size)) for size in SIZES}
        for pole in POLES:
            looks[pole] = Look(solids=(Solid("cylinder", self.facts.shape(pole).size, np.eye(4)),))
        looks[VISUAL_BROOM] = Look(solids=self._broom())
        looks |= {name: Look(friction=_SMOOTH) for name in ("broom", "broom_holder", *DIRT)}
        return looks

    def _pan(self, size: str) -> tuple[Solid, ...]:
        """Floor, back and low sides; in the frame of a pan x is up, and y leads into it."""
        high, deep, wide = self.facts.shape(f"dustpan_{size}").size
        wall, side = _PAN_WALL, (high / 2, deep, _PAN_WALL)
        frame = np.eye(4)
        return (
            solid_at(frame, "cuboid", (wall, deep, wide), ((wall - high) / 2, 0, 0)),
            solid_at(frame, "cuboid", (high, wall, wide), (0, (deep - wall) / 2, 0)),
            solid_at(frame, "cuboid", side, (-high / 4, 0, (wall - wide) / 2)),
            solid_at(frame, "cuboid", side, (-high / 4, 0, (wide - wall) / 2)),
        )

    def _broom(self) -> tuple[Solid, ...]:
        """What is seen of the broom: around its stick and its head."""
        inverse = np.linalg.inv(self.facts.objects[VISUAL_BROOM].in_parent)
        stick, head = (inverse @ part.pose for part in self.facts.shape("broom").solids)
        return Solid("cylinder", _STICK, stick), Solid("cuboid", _HEAD, head)

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Everything keeps its place; the script sweeps to the asked pan."""
        self.size, frames = SIZES[variation], scene.frames
        for number, letter in enumerate("abc", start=2):
            frames.move(f"waypoint{number}", frames.pose(f"point{variation + 1}{letter}"))
        return [
            f"sweep dirt to the {self.size} dustpan",
            f"take the broom and sweep all the dirt into the {self.size} dustpan",
            f"brush the dirt off the table into the {self.size} dustpan",
            f"clean up with the broom, using the {self.size} dustpan",
        ]

    def success(self, scene: Scene) -> bool:
        """All pieces of dirt lie in the right pan."""
        return all(scene.detects(f"success_{self.size}", piece) for piece in DIRT)
