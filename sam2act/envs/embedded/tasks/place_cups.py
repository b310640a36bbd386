"""RLBench: hang one, two or three mugs by their handles on the spokes of the cup holder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from sam2act.envs.embedded.kit.assembly import Look
from sam2act.envs.embedded.kit.facts import Solid
from sam2act.envs.embedded.kit.placing import Boundary, require_room_for_fingers
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Waypoint
from sam2act.envs.embedded.kit.vessels import round_wall, solid_at

MUGS = tuple(f"mug{number}" for number in range(3))
SPOKES = tuple(f"place_cups_holder_spoke{number}" for number in range(3))
DETECTORS = tuple(f"success_detector{number}" for number in range(3))
# All in metres, in the frame of what is seen of a mug: the handle looks along x, the axis is z.
_AXIS, _RADIUS, _WALL, _HEIGHT, _SIDES = -0.0159, 0.0310, 0.0036, 0.0832, 12
_HANDLE_WIDTH, _HANDLE_END = 0.012, 0.0486
_LOOP = (0.0415, -0.0165, 0.0185)  # the opening of the handle: its outer, lower and upper side
_LOOP_HIGH, _LOOP_LOW = 0.0265, -0.0255  # upper and lower side of the handle
_LOWERED = -0.3  # of the published way down onto the spoke: the hand opens above it
_SWING_DAMPING = 0.1  # N m s/rad; a mug on its spoke comes to rest before the hand moves on
_ROOM = 0.06  # of a mug with its handle and half of a finger


class PlaceCups(PublishedTask):
    """Variation v asks for mug0 to mug<v>; there are always three, and one that hangs already."""

    variations = len(MUGS)
    graspable = MUGS
    needs_lines = True
    manipulated = tuple(f"mug_visual{number}" for number in range(len(MUGS)))
    receivers = ("place_cups_holder_base", *SPOKES)
    deviations: ClassVar[Mapping[str, str]] = {
        "mug3.size": "The corners of its handle are square; its frame is turned against them.",
        "waypoint6.pose": "Higher by 14 mm, or the fingers would open against the spoke.",
    }

    def looks(self) -> Mapping[str, Look]:
        """Mugs with handles."""
        looks = {}
        for number in range(len(MUGS) + 1):
            mug, visual = f"mug{number}", f"mug_visual{number}"
            solids = _mug(self.facts.objects[visual].in_parent)
            looks[mug] = Look(solids=solids, damping=_SWING_DAMPING if mug in MUGS else None)
            looks[visual] = Look(solids=_mug(np.eye(4)))
        return looks

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The mugs stand beside the holder."""
        frames, self._count = scene.frames, variation + 1
        self._marks = {
            mark: np.linalg.inv(frames.pose(carrier)) @ frames.pose(mark)
            for mark, carrier in _carriers(0).items()
        }
        self._marks["waypoint6"][:3, 3] *= _LOWERED
        boundary = Boundary(frames, ["mug_boundary"], scene.random)
        for mug in MUGS:
            boundary.sample(mug, min_distance=0.10)
        for number in range(self._count):
            self._begin_round(scene, number)
            others = [mug for mug in MUGS if mug != MUGS[number]]
            require_room_for_fingers(frames, "waypoint1", others, _ROOM)
        cups = "1 cup" if self._count == 1 else f"{self._count} cups"
        return [
            f"place {cups} on the cup holder",
            f"hang {cups} on the holder by the handle",
            f"pick up {cups} and slide each handle over a spoke",
            f"fill the cup holder with {cups}",
        ]

    def success(self, scene: Scene) -> bool:
        """The asked mugs hang on spokes, and the hand is empty."""
        hang = (
            any(scene.detects(detector, mug) for detector in DETECTORS)
            for mug in MUGS[: self._count]
        )
        return scene.holds_nothing and all(hang)

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Seven keyframes per mug, each mug on a spoke of its own."""
        for number in range(self._count):
            yield from self.follow(scene, self._round(scene, number))
        self._begin_round(scene, 0)

    def _round(self, scene: Scene, number: int) -> Iterator[str]:
        """The marks of a round in order.

        Mug 0, which carries that of the grasp, may still move on its spoke: each mark is brought
        to its place when its turn comes.
        """
        for mark in range(self.facts.waypoints):
            self._begin_round(scene, number)
            yield f"waypoint{mark}"

    def _begin_round(self, scene: Scene, number: int) -> None:
        """Bring the script's marks to the mug and the spoke of a round."""
        frames = scene.frames
        for mark, carrier in _carriers(number).items():
            frames.move(mark, frames.pose(carrier) @ self._marks[mark])


def _carriers(number: int) -> dict[str, str]:
    """What the marks of a round stay with."""
    return {"waypoint1": MUGS[number], "waypoint5": SPOKES[number], "waypoint6": "waypoint5"}


def _mug(frame: np.ndarray) -> tuple[Solid, ...]:
    """A mug in the frame of its shape, in which `frame` (4, 4) is that of what is seen of it."""
    foot = frame.copy()
    foot[:3, 3] += frame[:3, :3] @ (_AXIS, 0, -_HEIGHT / 2)
    start = _AXIS + _RADIUS
    outer, low, high = _LOOP
    bars = [
        solid_at(
            frame,
            "cuboid",
            (_HANDLE_END - start, _HANDLE_WIDTH, upper - lower),
            ((_HANDLE_END + start) / 2, 0, (upper + lower) / 2),
        )
        for lower, upper in ((_LOOP_LOW, low), (high, _LOOP_HIGH))
    ]
    grip = solid_at(
        frame,
        "cuboid",
        (_HANDLE_END - outer, _HANDLE_WIDTH, high - low),
        ((_HANDLE_END + outer) / 2, 0, (high + low) / 2),
    )
    floor = solid_at(foot, "cylinder", (2 * _RADIUS, 2 * _RADIUS, 0.006), (0, 0, 0.003))
    wall = round_wall(foot, (_RADIUS, _RADIUS), _HEIGHT, _WALL, _SIDES)
    return (*wall, floor, *bars, grip)
