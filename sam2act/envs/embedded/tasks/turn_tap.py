"""RLBench's turn_tap: open the left or the right handle of a tap.

The handles turn about upright axes. Fingers that grasp one from above, over its axis, turn it by
turning in place. Left and right are seen from the robot, towards which the spout points.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, body, box, capsule, cylinder, element
from sam2act.envs.embedded.kit.parts import METAL
from sam2act.envs.embedded.kit.scene import Area, Scene
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

SIDES = ("left", "right")
STEEL, BASE_COLOR = (0.78, 0.79, 0.82), (0.62, 0.63, 0.66)
MARKS = {"left": (0.85, 0.15, 0.12), "right": (0.15, 0.30, 0.85)}  # hot and cold

# The tap's frame: origin on the table, spout towards -x, left towards +y. Metres.
_HANDLE_PLACE = {"left": 0.13, "right": -0.13}
_POST_HEIGHT, _STEM = 0.12, 0.004  # the stem is the gap that keeps a handle from rubbing
_BAR_HALF = (0.050, 0.010, 0.013)  # of a handle, at size 1; it starts along x
_SPOUT_HEIGHT, _SPOUT_LENGTH = 0.21, 0.12
_AREA, _YAW = Area((0.30, 0.0), (0.06, 0.10)), np.deg2rad(20)

_OPEN = 1.57  # radians, RLBench's threshold
_TURN = 1.75  # radians, of the hand: the bar has a little play in the fingers
# Seen from above, the left handle opens counter-clockwise, the right one clockwise.
_OPENS_TOWARDS = {"left": 1, "right": -1}
_TRAVEL = (-0.05, 2.1)  # radians


class TurnTap(Task):
    """Variation v: the left handle, the right one."""

    variations = len(SIDES)
    scene_known = False
    manipulated = tuple(f"handle_{side}" for side in SIDES)
    object_sizes = (0.75, 1.25)

    def fragment(self) -> Fragment:
        """One tap with two handles."""
        handles = [_handle(side, self.options.object_scale) for side in SIDES]
        return Fragment(body("tap", *_pipes(), *handles, pos=(0, 0, TABLE_HEIGHT)))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The tap stands anywhere in front of the robot, turned a little."""
        self.side = SIDES[variation]
        scene.spawn("tap", _AREA, yaw=(-_YAW, _YAW))
        return [
            f"turn {self.side} tap",
            f"open the {self.side} handle of the tap",
            f"take the {self.side} handle and turn the water on",
        ]

    def success(self, scene: Scene) -> bool:
        """The handle has been turned far enough."""
        return scene.joint(f"handle_joint_{self.side}") > _OPEN

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Two keyframes: grasp, turn in place."""
        name = f"handle_{self.side}"
        hub, yaw = scene.position(name), scene.yaw(name)
        # The way to the handle keeps clear of the spout.
        yield go(hub, down(yaw, symmetry=1), grip=True, collide=False)
        turned = yaw + _OPENS_TOWARDS[self.side] * _TURN
        yield go(hub, down(turned, symmetry=1), grip=True)


def _handle(side: str, scale: float) -> str:
    """A bar on top of a post that turns about its middle; origin there."""
    length, width, height = np.array(_BAR_HALF) * scale
    options = {"density": 1500, "friction": (1.5, 0.02, 0.002)}
    return body(
        f"handle_{side}",
        element(
            "joint",
            name=f"handle_joint_{side}",
            type="hinge",
            axis=(0, 0, _OPENS_TOWARDS[side]),
            range=_TRAVEL,
            damping=0.05,
            frictionloss=0.02,
            armature=0.002,
        ),
        box((length, width, height), STEEL, **options),
        cylinder(0.9 * width, 0.0012, MARKS[side], pos=(0, 0, height), class_="visual"),
        cylinder(0.9 * width, _STEM / 2, METAL, pos=(0, 0, -height - _STEM / 2), class_="visual"),
        pos=(0, _HANDLE_PLACE[side], _POST_HEIGHT + _STEM + height),
    )


def _pipes() -> list[str]:
    """Base bar, posts, and the spout that rises in the middle and bends forwards."""
    half_width = _HANDLE_PLACE["left"] + 0.03
    posts = [
        shape
        for y in _HANDLE_PLACE.values()
        for shape in (
            cylinder(0.013, _POST_HEIGHT / 2, BASE_COLOR, pos=(0, y, _POST_HEIGHT / 2)),
            cylinder(0.019, 0.006, STEEL, pos=(0, y, _POST_HEIGHT - 0.02), class_="visual"),
        )
    ]
    corner, mouth = (0, 0, _SPOUT_HEIGHT), (-_SPOUT_LENGTH, 0, _SPOUT_HEIGHT)
    end = (-_SPOUT_LENGTH, 0, _SPOUT_HEIGHT - 0.04)
    return [
        box((0.035, half_width, 0.015), BASE_COLOR, pos=(0, 0, 0.015)),
        *posts,
        capsule((0, 0, 0.03), corner, 0.014, STEEL),
        capsule(corner, mouth, 0.013, STEEL),
        capsule(mouth, end, 0.013, STEEL),
    ]
