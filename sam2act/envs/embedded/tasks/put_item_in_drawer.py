"""RLBench: open a drawer and put the item from the top of the chest into it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.drawer_parts import (
    at_handle,
    handle_rotation,
    pull_open,
    spawn_chest,
)
from sam2act.envs.embedded.kit.mjcf import Fragment, grasp_weld
from sam2act.envs.embedded.kit.parts import CABINET_TOP, CUBE_HALF, DRAWERS, cube, drawer_unit
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

ITEM_COLOR = (0.85, 0.15, 0.12)
_TOP = TABLE_HEIGHT + CABINET_TOP  # metres
_ITEM_AREA = Area((0.0, -0.085), (0.06, 0.035))  # on the chest, in its frame, metres
_HOVER = 0.07  # metres above the item
_BACK_OFF = 0.05  # metres from a handle
_HIGH = 0.12  # metres above the top of the chest where the arm turns to point down
# In the frame of a drawer, metres: where the item is let go, and where it counts as inside.
_SPOT_DEPTH = -0.10
_RELEASE, _ABOVE_DRAWER = 0.01, 0.13
_INSIDE = Zone((0.0, -0.19, -0.005), (0.185, 0.175, 0.045))


class PutItemInDrawer(Task):
    """Variation v asks for drawer v (bottom, middle, top)."""

    variations = 3
    graspable = ("item",)
    manipulated = ("item",)
    lookalikes = ("box",)
    receivers = tuple(f"drawer_{place}" for place in DRAWERS)
    object_sizes = (0.75, 1.25)

    def fragment(self) -> Fragment:
        """A chest of drawers and a cube."""
        self.half = CUBE_HALF * self.options.object_scale
        return Fragment(drawer_unit() + cube("item", ITEM_COLOR, self.half), grasp_weld("item"))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The chest in a random place, all drawers shut; the item somewhere on its top."""
        self.place = DRAWERS[variation]
        spawn_chest(scene)
        center, half = np.asarray(_ITEM_AREA.center), np.asarray(_ITEM_AREA.half)
        spot = scene.to_world("cabinet", (*scene.random.uniform(center - half, center + half), 0.0))
        yaw = scene.yaw("cabinet") + scene.random.uniform(-np.pi / 8, np.pi / 8)
        scene.place("item", (*spot[:2], _TOP + self.half), yaw=yaw)
        return [
            f"put the item in the {self.place} drawer",
            f"open the {self.place} drawer and drop the cube into it",
            f"store the cube from the top of the chest in the {self.place} drawer",
        ]

    def success(self, scene: Scene) -> bool:
        """The item lies in the asked drawer, released."""
        zone = Zone(_INSIDE.center, _INSIDE.half, f"drawer_{self.place}")
        return scene.is_inside("item", zone) and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Twelve keyframes."""
        yield from pull_open(scene, self.place, release=True)
        yield from self._leave_handle(scene)
        item = scene.position("item")
        rotation = down(scene.yaw("item"), symmetry=4)
        yield go(item + (0, 0, _HOVER), rotation, collide=False)
        yield go(item, rotation, grip=True)
        yield go(item + (0, 0, _HOVER), rotation, grip=True)
        yield from self._drop(scene)

    def _leave_handle(self, scene: Scene) -> Iterator[Waypoint]:
        """Back off, then rise until the chest can be looked down on."""
        away = at_handle(scene, self.place, _BACK_OFF)
        yield go(away, handle_rotation(scene))
        high = (*scene.to_world("cabinet", (0, 0.10, 0))[:2], _TOP + _HIGH)
        yield go(high, down(scene.yaw("cabinet")), collide=False)

    def _drop(self, scene: Scene) -> Iterator[Waypoint]:
        """Over the drawer, into it, let go, and up again."""
        drawer, rotation = f"drawer_{self.place}", down(scene.yaw("cabinet") + np.pi / 2)
        spot = scene.to_world(drawer, (0, _SPOT_DEPTH, 0))
        high = (*spot[:2], _TOP + _HIGH)
        yield go(high, rotation, grip=True, collide=False)
        yield go(spot + (0, 0, _ABOVE_DRAWER), rotation, grip=True)
        yield go(spot + (0, 0, _RELEASE), rotation)
        yield go(spot + (0, 0, _ABOVE_DRAWER), rotation)
