"""RLBench: stack two cups into the cup of the named colour."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sam2act.envs.embedded.kit.assembly import Look
from sam2act.envs.embedded.kit.facts import Solid
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.placing import Boundary, require_room_for_fingers
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.vessels import round_wall, solid_at

CUPS = ("cup1", "cup2", "cup3")
TARGET, OTHERS = "cup2", ("cup1", "cup3")
# All in metres.
_FOOT = (-0.0076, -0.0029, -0.0714)  # middle of the lower end, from the origin
_RADII, _HEIGHT, _WALL, _SIDES = (0.0275, 0.0460), 0.1400, 0.002, 16
_FLOOR = 0.028  # a cup stands on the thick floor of the one below, clear of its wall
_ROOM = 0.068  # of a cup and half of a finger


class StackCups(PublishedTask):
    """Variation v asks to stack into the cup of colour v."""

    variations = len(COLORS)
    graspable = CUPS
    manipulated = tuple(f"{cup}_visual" for cup in OTHERS)
    told_by_looks = (f"{TARGET}_visual",)
    resized = CUPS
    object_sizes = (0.9, 1.1)

    def looks(self) -> Mapping[str, Look]:
        """Tapered cups."""
        looks = {}
        for cup in CUPS:
            standing = self._standing(cup)
            visual = np.linalg.inv(self.facts.objects[f"{cup}_visual"].in_parent) @ standing
            looks[cup] = Look(solids=_cup(standing))
            looks[f"{cup}_visual"] = Look(solids=_cup(visual))
        return looks

    def _standing(self, cup: str) -> np.ndarray:
        """(4, 4) upright in the middle of a cup's lower end, in the frame of the cup."""
        pose = self.facts.objects[cup].in_parent
        standing = np.eye(4)
        standing[:3, 3] = pose[:3, 3] + _FOOT
        return np.linalg.inv(pose) @ standing

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The cups stand apart; the two others may have the same colour."""
        names = list(COLORS)
        color = names[variation]
        spare = [name for name in names if name != color]
        boundary = Boundary(scene.frames, ["boundary"], scene.random)
        for cup in (TARGET, *OTHERS):
            paint = color if cup == TARGET else str(scene.random.choice(spare))
            scene.set_color(f"{cup}_visual", COLORS[paint])
            boundary.sample(cup, yaw=(0.0, 0.0), min_distance=0.05)
        for mark, cup in (("waypoint1", "cup1"), ("waypoint6", "cup3")):
            others = [other for other in CUPS if other != cup]
            require_room_for_fingers(scene.frames, mark, others, _ROOM)
        return [
            f"stack the other cups on top of the {color} cup",
            f"put the other two cups into the {color} cup",
            f"pile the cups up with the {color} cup at the bottom",
            f"make a stack of all cups on the {color} one",
            f"nest both remaining cups in the {color} cup",
            f"take the other cups one by one and drop them into the {color} cup",
        ]

    def success(self, scene: Scene) -> bool:
        """Both other cups stand in the right one, and the hand is empty."""
        return all(scene.detects("success", cup) for cup in OTHERS) and scene.holds_nothing


def _cup(standing: np.ndarray) -> tuple[Solid, ...]:
    """A cup in the frame of its shape, in which `standing` (4, 4) is the middle of its foot."""
    floor = solid_at(
        standing, "cylinder", (2 * _RADII[0], 2 * _RADII[0], _FLOOR), (0, 0, _FLOOR / 2)
    )
    return (*round_wall(standing, _RADII, _HEIGHT, _WALL, _SIDES), floor)
