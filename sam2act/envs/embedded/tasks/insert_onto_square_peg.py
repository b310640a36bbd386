"""RLBench: put the square ring onto the peg of the named colour."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, body, box, free_body, grasp_weld
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

PEGS = ("peg0", "peg1", "peg2")
RING_COLOR, BASE_COLOR = (0.78, 0.62, 0.40), (0.45, 0.33, 0.22)
# All in metres.
_PEG_HALF, _PEG_HEIGHT, _PEG_PITCH = 0.016, 0.085, 0.125
_BASE_HALF = (0.055, 0.185, 0.008)
_RING_HALF, _BAR, _RING_HEIGHT = 0.040, 0.011, 0.011  # half width at the bars' middles, half sizes
_HANDLE_HALF, _HANDLE_WIDTH = 0.030, 0.012  # half length and half width
_GRASP = _RING_HALF + _BAR + 0.036  # from the ring's middle to the fingertips
_HOVER, _LIFT, _DROP = 0.10, 0.16, 0.006
_BASE_AREA = Area((0.40, 0.0), (0.03, 0.07))
_RING_AREA = Area((0.20, 0.0), (0.03, 0.24))
_BASE_YAW, _RING_YAW = (-np.pi / 10, np.pi / 10), (-np.pi / 3, np.pi / 3)


class InsertOntoSquarePeg(Task):
    """Variation v asks for colour v; the other two pegs have other colours."""

    variations = len(COLORS)
    graspable = ("ring",)
    manipulated = ("ring",)
    receivers = ("base",)
    told_by_looks = PEGS
    object_sizes = (0.9, 1.2)
    receiver_sizes = (0.75, 1.1)

    def fragment(self) -> Fragment:
        """A ring with a handle, and a base with three pegs."""
        half = self._peg_half
        pegs = [
            body(
                name,
                box((half, half, _PEG_HEIGHT / 2), COLORS["red"], pos=(0, 0, _PEG_HEIGHT / 2)),
                pos=(0, (1 - number) * _PEG_PITCH, 2 * _BASE_HALF[2]),
            )
            for number, name in enumerate(PEGS)
        ]
        plate = box(_BASE_HALF, BASE_COLOR, pos=(0, 0, _BASE_HALF[2]), name="base")
        stand = body("stand", plate, *pegs, pos=(0.40, 0, TABLE_HEIGHT))
        return Fragment(stand + self._ring(), grasp_weld("ring"))

    @property
    def _peg_half(self) -> float:
        """Half of a peg's width, metres."""
        return _PEG_HALF * self.options.receiver_scale

    def _ring(self) -> str:
        """A square of four bars with a handle towards -x; the origin lies in its middle."""
        scale = self.options.object_scale
        half, bar, height = scale * _RING_HALF, scale * _BAR, scale * _RING_HEIGHT
        options = {"density": 300, "friction": (1, 0.02, 0.002)}
        bars = [
            box((bar, half + bar, height), RING_COLOR, pos=(side * half, 0, 0), **options)
            for side in (-1, 1)
        ]
        bars += [
            box((half - bar, bar, height), RING_COLOR, pos=(0, side * half, 0), **options)
            for side in (-1, 1)
        ]
        length = scale * _HANDLE_HALF
        handle = box(
            (length, scale * _HANDLE_WIDTH, height),
            RING_COLOR,
            pos=(-half - bar - length, 0, 0),
            **options,
        )
        return free_body("ring", *bars, handle, pos=(0.2, 0, TABLE_HEIGHT + height))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The peg of the right colour is any of the three; the ring lies before the pegs."""
        names = list(COLORS)
        color = names[variation]
        self._wanted = PEGS[scene.random.integers(len(PEGS))]
        others = [PEGS[i] for i in scene.random.permutation(len(PEGS)) if PEGS[i] != self._wanted]
        spare = scene.random.choice([name for name in names if name != color], 2, replace=False)
        for peg, shade in zip([self._wanted, *others], [color, *spare], strict=True):
            scene.set_color(peg, COLORS[str(shade)])
        scene.spawn("stand", _BASE_AREA, radius=0.0, yaw=_BASE_YAW)
        for peg in PEGS:
            scene.occupy(scene.position(peg)[:2], 0.09)
        scale = self.options.object_scale
        height = TABLE_HEIGHT + scale * _RING_HEIGHT
        scene.spawn("ring", _RING_AREA, radius=0.07 * scale, height=height, yaw=_RING_YAW)
        return [
            f"put the ring on the {color} spoke",
            f"slide the square ring onto the {color} peg",
            f"pick up the ring by its handle and lower it over the {color} spoke",
            f"the ring belongs around the {color} peg",
        ]

    def success(self, scene: Scene) -> bool:
        """The ring lies low around the right peg, and the hand is empty."""
        side = self._inside_half - self._peg_half + 0.004
        zone = Zone((0, 0, _PEG_HEIGHT / 4), (side, side, _PEG_HEIGHT / 4), self._wanted)
        return scene.is_inside("ring", zone) and scene.holds_nothing

    @property
    def _inside_half(self) -> float:
        """Half of the opening's width, metres."""
        return self.options.object_scale * (_RING_HALF - _BAR)

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes: over the handle, the handle, up, over the peg, down."""
        scale = self.options.object_scale
        handle = scene.to_world("ring", (-_GRASP * scale, 0, 0))
        goal = scene.to_world(self._wanted, (-_GRASP * scale, 0, _RING_HEIGHT * scale + _DROP))
        pick, put = down(scene.yaw("ring")), down(scene.yaw("stand"))
        above = np.array([*goal[:2], TABLE_HEIGHT + _LIFT])
        yield go(handle + (0, 0, _HOVER), pick, collide=False)
        yield go(handle, pick, grip=True)
        yield go([*handle[:2], TABLE_HEIGHT + _LIFT], pick, grip=True)
        yield go(above, put, grip=True)
        yield go(goal, put)
