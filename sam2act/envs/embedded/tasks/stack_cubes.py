"""The paper's real-robot task: stack one of three cubes on another; our scene."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, box, free_body, grasp_weld
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.scene import Area, Scene
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

CUBES = ("red", "green", "blue")
PAIRS = tuple(itertools.permutations(CUBES, 2))
SIDE = 0.05  # metres, at size 1
_AREA = Area((0.26, 0.0), (0.12, 0.24))  # metres
_RADIUS = 0.065  # metres, half of the least distance of two cubes
_TURN = np.pi / 4  # radians, either way
_HOVER, _DROP = 0.12, 0.003  # metres above the grasp; of the cube above the other at the release
_HEIGHT_ERROR = 0.15  # of the side


class StackCubes(Task):
    """Variation v: the v-th ordered pair of red, green and blue, the upper cube first."""

    variations = len(PAIRS)
    scene_known = False
    graspable = tuple(f"{color}_cube" for color in CUBES)
    manipulated = graspable
    told_by_looks = graspable
    lookalikes = ("box",)
    object_sizes = (0.8, 1.2)

    def fragment(self) -> Fragment:
        """A cube of each colour."""
        half = np.full(3, self._side / 2)
        cubes = [
            free_body(name, box(half, COLORS[color], density=400), pos=(0, 0, self._rest))
            for name, color in zip(self.graspable, CUBES, strict=True)
        ]
        return Fragment("".join(cubes), "".join(grasp_weld(name) for name in self.graspable))

    @property
    def _side(self) -> float:
        return SIDE * self.options.object_scale

    @property
    def _rest(self) -> float:
        return TABLE_HEIGHT + self._side / 2

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The cubes lie anywhere in front of the robot."""
        upper, lower = PAIRS[variation]
        self.upper, self.lower = f"{upper}_cube", f"{lower}_cube"
        for name in self.graspable:
            scene.spawn(name, _AREA, height=self._rest, radius=_RADIUS, yaw=(-_TURN, _TURN))
        return [
            f"stack the {upper} cube on the {lower} cube",
            f"put the {upper} cube on top of the {lower} one",
            f"pick up the {upper} cube and place it onto the {lower} cube",
        ]

    def success(self, scene: Scene) -> bool:
        """The upper cube rests on the lower one, and nothing is grasped."""
        offset = scene.position(self.upper) - scene.position(self.lower)
        limits = np.array((self._side / 2, self._side / 2, _HEIGHT_ERROR * self._side))
        rests = bool((np.abs(offset - (0, 0, self._side)) < limits).all())
        return rests and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes: above the cube, grasp, up, above the other cube, release."""
        grasp, turn = scene.position(self.upper), down(scene.yaw(self.upper), symmetry=4)
        target, aligned = scene.position(self.lower), down(scene.yaw(self.lower), symmetry=4)
        above = (0, 0, self._side + _HOVER)
        yield go(grasp + (0, 0, _HOVER), turn)
        yield go(grasp, turn, grip=True)
        yield go(grasp + above, turn, grip=True)
        yield go(target + above, aligned, grip=True)
        yield go(target + (0, 0, self._side + _DROP), aligned)
