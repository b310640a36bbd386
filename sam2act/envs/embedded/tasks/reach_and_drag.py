"""RLBench's reach_and_drag: use a stick to push a cube onto the target of the asked colour."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.assembly import Look
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene

TARGETS = ("target0", "distractor1", "distractor2", "distractor3")
_SHIFTS = (0, 5, 6, 7)  # of the colours of the targets in the list of colours
_CUBE_FRICTION = 0.4  # so that the cube slides and does not tip over
_LIFT = 0.016  # metres
_LIFTED = "The published one would push the far end of the stick 15 mm into the table."


class ReachAndDrag(PublishedTask):
    """Variation v: colour v."""

    variations = len(COLORS)
    graspable = ("stick",)
    manipulated = ("stick",)
    receivers = ("cube",)
    told_by_looks = TARGETS
    lookalikes = ("box",)
    pushed = ("cube",)
    deviations = {f"waypoint{number}.pose": _LIFTED for number in (3, 4, 5)}

    def looks(self) -> Mapping[str, Look]:
        """As in the facts."""
        return {"cube": Look(friction=_CUBE_FRICTION)}

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Only colours change: things lie as loaded."""
        names = list(COLORS)
        for target, shift in zip(TARGETS, _SHIFTS, strict=True):
            scene.set_color(target, COLORS[names[(variation + shift) % len(names)]])
        push = scene.frames.pose("waypoint3")
        push[2, 3] += _LIFT
        scene.frames.move("waypoint3", push)
        color = names[variation]
        return [
            f"use the stick to drag the cube onto the {color} target",
            f"with the stick, pull the cube to the {color} square",
            f"pick up the stick and move the cube onto the {color} patch with it",
            f"grasp the stick and push the cube until it lies on the {color} target",
        ]

    def success(self, scene: Scene) -> bool:
        """Some part of the cube is on the asked target."""
        return scene.detects("success0", "cube")


class AnySide(ReachAndDrag):
    """The asked target changes places with any of the four: its colour tells where to push."""

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """As published, but with the asked target on a random side and the script turned to it."""
        instructions = super().init_episode(scene, variation)
        frames, cube = scene.frames, scene.frames.pose("cube")[:2, 3]
        published = frames.pose("target0")
        other = TARGETS[scene.random.integers(len(TARGETS))]
        place = frames.pose(other)
        frames.move(other, published)
        frames.move("target0", place)
        before, after = published[:2, 3] - cube, place[:2, 3] - cube
        angle = np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0])
        frames.move("waypoint3", _turned(frames.pose("waypoint3"), angle, cube))
        push, longer = frames.pose("waypoint5"), np.linalg.norm(after) - np.linalg.norm(before)
        push[:2, 3] += longer * after / np.linalg.norm(after)
        frames.move("waypoint5", push)
        return instructions


VARIANTS = {"any_side": AnySide}


def _turned(pose: np.ndarray, angle: float, center: np.ndarray) -> np.ndarray:
    """`pose` (4, 4) turned by `angle` radians about the vertical through `center` (2,) metres."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", angle).as_matrix()
    turn[:2, 3] = center - turn[:2, :2] @ center
    return turn @ pose
