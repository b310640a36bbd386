"""RLBench: put the named one of nine groceries into the cupboard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.grocery_parts import (
    CUPBOARD_DEPTH,
    CUPBOARD_FLOOR,
    CUPBOARD_HALF_WIDTH,
    CUPBOARD_HEIGHT,
    GROCERIES,
    cupboard,
)
from sam2act.envs.embedded.kit.mjcf import Fragment, grasp_weld
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, go, gripper_rotation
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

NAMES = tuple(GROCERIES)
BODIES = tuple(name.replace(" ", "_") for name in NAMES)
CUPBOARD_AREA, CUPBOARD_YAW = Area((0.19, -0.19), (0.03, 0.02)), (-0.2, 0.2)  # metres, radians
GROCERIES_AREA, GROCERIES_YAW = Area((0.22, 0.205), (0.21, 0.14)), (-0.5, 0.5)
_RADIUS = 0.051  # metres, half of the least distance of two groceries
_CUPBOARD_RADIUS = 0.08
_LEAST_GRASP = 0.022  # metres above the table, so that the palm passes over the neighbours
_HOVER = 0.13  # metres above the grasp
# Metres before and behind the cupboard's front, and above its floor.
_BEFORE, _INSERTION, _RELEASE = 0.13, 0.055, 0.047


class PutGroceriesInCupboard(Task):
    """Variation v asks for item v of `GROCERIES`."""

    variations = 9
    scene_known = False
    graspable = BODIES
    manipulated = BODIES
    receivers = ("cupboard",)
    told_by_looks = BODIES
    lookalikes = ("box", "cylinder")
    object_sizes = (0.8, 1.1)

    def fragment(self) -> Fragment:
        """An open cupboard on legs and nine groceries."""
        scale = self.options.object_scale
        items = zip(BODIES, GROCERIES.values(), strict=True)
        groceries = "".join(item.text(body, scale) for body, item in items)
        return Fragment(cupboard() + groceries, "".join(map(grasp_weld, BODIES)))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The cupboard stands to the right, the groceries are scattered to the left of it."""
        name, self.item = NAMES[variation], BODIES[variation]
        scene.spawn("cupboard", CUPBOARD_AREA, radius=_CUPBOARD_RADIUS, yaw=CUPBOARD_YAW)
        for body in BODIES:
            scene.spawn(
                body,
                GROCERIES_AREA,
                height=TABLE_HEIGHT + self._half_height(body),
                radius=_RADIUS,
                yaw=GROCERIES_YAW,
            )
        return [
            f"put the {name} in the cupboard",
            f"store the {name} inside the cupboard",
            f"grasp the {name} on the table and place it in the cupboard",
            f"take the {name} and leave it standing in the cupboard",
        ]

    def _half_height(self, body: str) -> float:
        return GROCERIES[body.replace("_", " ")].half[2] * self.options.object_scale

    def success(self, scene: Scene) -> bool:
        """The item lies in the cupboard, released."""
        middle = (0.0, -CUPBOARD_DEPTH / 2, CUPBOARD_FLOOR + CUPBOARD_HEIGHT / 2)
        half = (CUPBOARD_HALF_WIDTH, CUPBOARD_DEPTH / 2, CUPBOARD_HEIGHT / 2)
        return scene.is_inside(self.item, Zone(middle, half, "cupboard")) and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes; the hand turns to the horizontal on the way to the cupboard."""
        spot = scene.position(self.item)
        spot[2] = TABLE_HEIGHT + max(self._half_height(self.item), _LEAST_GRASP)
        rotation = gripper_rotation((0, 0, -1), -scene.matrix(self.item)[:, 0])
        yield go(spot + (0, 0, _HOVER), rotation, collide=False)
        yield go(spot, rotation, grip=True)
        yield go(spot + (0, 0, _HOVER), rotation, grip=True)
        across, out, _ = scene.matrix("cupboard").T
        forward = gripper_rotation(-out, -across)
        before = scene.to_world("cupboard", np.array([0, _BEFORE, CUPBOARD_FLOOR + _RELEASE]))
        yield go(before, forward, grip=True, collide=False)
        yield go(before - (_BEFORE + _INSERTION) * out, forward)
