"""RLBench: stack two cups into the cup of the named colour."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.mjcf import Fragment, box, cylinder, free_body, grasp_weld
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

TARGET, OTHERS = "cup0", ("cup1", "cup2")
CUPS = (TARGET, *OTHERS)
# All in metres; radii are those of the flat sides' middles.
_HEIGHT, _LOW_RADIUS, _RIM_RADIUS, _WALL = 0.090, 0.029, 0.044, 0.002
# A cup stands on the thick bottom of the one below, clear of its walls.
_BOTTOM = 0.042
_SIDES = 12
_SLOPE = np.arctan2(_RIM_RADIUS - _LOW_RADIUS, _HEIGHT)  # radians
_GRASP_DEPTH = 0.014  # of the fingertips below the rim
_HOVER, _LIFT, _DROP = 0.10, 0.24, 0.012
_AREA = Area((0.26, 0.0), (0.12, 0.24))


class StackCups(Task):
    """Variation v asks to stack into the cup of colour v."""

    variations = len(COLORS)
    graspable = CUPS
    manipulated = OTHERS
    told_by_looks = (TARGET,)

    def fragment(self) -> Fragment:
        """Three cups that fit into each other."""
        return Fragment("".join(map(_cup, CUPS)), "".join(map(grasp_weld, CUPS)))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The cups stand apart, in three colours."""
        names = list(COLORS)
        color = names[variation]
        spare = scene.random.choice([name for name in names if name != color], 2, replace=False)
        for cup, shade in zip(CUPS, [color, *spare], strict=True):
            scene.set_color(cup, COLORS[str(shade)])
            scene.spawn(cup, _AREA, radius=0.08, yaw=(-np.pi, np.pi))
        return [
            f"stack the other cups on top of the {color} cup",
            f"put the other two cups into the {color} cup",
            f"pile the cups up with the {color} cup at the bottom",
            f"make a stack of all cups on the {color} one",
        ]

    def success(self, scene: Scene) -> bool:
        """Both other cups stand in the right one, and the hand is empty."""
        zone = Zone((0, 0, 0.5 * _HEIGHT + 0.01), (0.02, 0.02, 0.5 * _HEIGHT), TARGET)
        return all(scene.is_inside(cup, zone) for cup in OTHERS) and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Ten keyframes, five per cup: over the rim, the rim, up, over the stack, down."""
        for level, cup in enumerate(OTHERS, start=1):
            pick_turn, pick = _rim(scene, cup)
            put_turn, target = _rim(scene, TARGET)
            put = target + (0, 0, level * _BOTTOM + _DROP)
            yield go(pick + (0, 0, _HOVER), pick_turn, collide=False)
            yield go(pick, pick_turn, grip=True)
            yield go([*pick[:2], TABLE_HEIGHT + _LIFT], pick_turn, grip=True)
            yield go([*put[:2], TABLE_HEIGHT + _LIFT], put_turn, grip=True)
            yield go(put, put_turn)


def _cup(name: str) -> str:
    """A tapered cup; the origin lies at the middle of its bottom."""
    radius, color = (_LOW_RADIUS + _RIM_RADIUS) / 2, (0.5, 0.5, 0.5)
    # Slightly narrow at the rim, so that the bottom sticks out less.
    width = 0.92 * _RIM_RADIUS * np.tan(np.pi / _SIDES)
    half = _HEIGHT / 2 / np.cos(_SLOPE)
    walls = [
        box(
            (_WALL, width, half),
            color,
            pos=(radius * np.cos(angle), radius * np.sin(angle), _HEIGHT / 2),
            quat=np.roll(Rotation.from_euler("ZY", (angle, _SLOPE)).as_quat(), 1),
            density=400,
        )
        for angle in 2 * np.pi * np.arange(_SIDES) / _SIDES
    ]
    bottom = cylinder(_LOW_RADIUS, _BOTTOM / 2, color, pos=(0, 0, _BOTTOM / 2), density=400)
    return free_body(name, bottom, *walls, pos=(0.25, 0, TABLE_HEIGHT))


def _rim(scene: Scene, cup: str) -> tuple[np.ndarray, np.ndarray]:
    """How the gripper holds a cup by its rim: quaternion xyzw, and position (3,) of the tip.

    Of the sides that look most along +y; all cups are held alike, so that their sides match.
    """
    period = 2 * np.pi / _SIDES
    yaw = (scene.yaw(cup) + period / 2) % period - period / 2
    depth = _GRASP_DEPTH
    radius = _RIM_RADIUS - depth * np.tan(_SLOPE)
    outward = np.array([-np.sin(yaw), np.cos(yaw)])
    spot = scene.position(cup)[:2] + radius * outward
    return down(yaw), np.array([*spot, TABLE_HEIGHT + _HEIGHT - depth])
