"""MemoryBench: close the open drawer, press the button, open the same drawer again."""

from __future__ import annotations

from collections.abc import Iterator

from sam2act.envs.embedded.kit.memory_blocks import PRESSED_TRAVEL
from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.parts import (
    BUTTON_PRESS_HEIGHT,
    DRAWER_HEIGHTS,
    DRAWERS,
    HANDLE_GRASP,
    button,
    drawer_unit,
    shut_drawers,
)
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import (
    LatchedConditions,
    Task,
    Waypoint,
    down,
    go,
    gripper_rotation,
)
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

FRONT = (0.20, -0.05)  # x of the cabinet's middle, y of its front, metres
STARTS_AT = 0.21  # metres that the drawer is open
CLOSED, OPEN, OTHERS_CLOSED = 0.02, 0.15, 0.05  # metres
_APPROACH, _PULL = 0.09, 0.20  # metres before the handle; metres to pull
_HANDLE = gripper_rotation((0, -1, 0), (0, 0, 1))
_BUTTON_HOVER = 0.88


class ReopenDrawer(Task):
    """Variation v starts with drawer v (bottom, middle, top) open."""

    variations = 3
    manipulated = tuple(f"drawer_{place}" for place in DRAWERS)
    receivers = ("button_base",)

    def fragment(self) -> Fragment:
        """A chest of drawers and a button."""
        return Fragment(drawer_unit() + button())

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The button lies at a random place on the side to which the drawers open."""
        self.place = DRAWERS[variation]
        self._done = LatchedConditions(2, ordered=True)
        scene.place("cabinet", (*FRONT, TABLE_HEIGHT))
        scene.set_joint(f"drawer_joint_{self.place}", STARTS_AT)
        button_spot = (scene.random.uniform(0.10, 0.30), scene.random.uniform(0.30, 0.36))
        scene.place("button", (*button_spot, TABLE_HEIGHT))
        return ["Close the opened drawer, push the button, and then open the previous drawer again"]

    def step(self, scene: Scene) -> None:
        """Consume in this order: the drawer was closed, the button was pressed."""
        if self.options.memory_strict:
            shut_drawers(scene)
        closed = self._opening(scene, self.place) < CLOSED
        self._done.update(closed, scene.joint("button_joint") > PRESSED_TRAVEL)

    def success(self, scene: Scene) -> bool:
        """Closed, pressed, and now the same drawer is open and the others are not."""
        others = (self._opening(scene, place) for place in DRAWERS if place != self.place)
        return (
            self._done.all_met
            and self._opening(scene, self.place) > OPEN
            and all(opening < OTHERS_CLOSED for opening in others)
        )

    @staticmethod
    def _opening(scene: Scene, place: str) -> float:
        return scene.joint(f"drawer_joint_{place}")

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Eight keyframes."""
        x, front = FRONT
        handle, height = front + HANDLE_GRASP, DRAWER_HEIGHTS[self.place]
        spot = scene.position("button")[:2]
        opened = handle + STARTS_AT
        yield go((x, opened + _APPROACH, height), _HANDLE, collide=False)
        yield go((x, opened, height), _HANDLE, grip=True)
        yield go((x, handle - 0.002, height), _HANDLE)
        yield go((*spot, _BUTTON_HOVER), down(), grip=True, collide=False)
        yield go((*spot, BUTTON_PRESS_HEIGHT), down(), grip=True)
        yield go((x, handle + _APPROACH, height), _HANDLE, collide=False)
        yield go((x, handle, height), _HANDLE, grip=True)
        yield go((x, handle + _PULL, height), _HANDLE, grip=True)
