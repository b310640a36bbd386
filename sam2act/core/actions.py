"""Control modes: how a robot is commanded, and the components of an action in each mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Component:
    """A named part of an action.

    Attributes:
        name: what it is.
        size: how many numbers.
        unit: "m", "rad", "xyzw" (of a unit quaternion), or which value means what.
        frame: in which it is given; empty where there is none.
        low: least legal value of each number; None = no limit but the workspace.
        high: greatest legal value.
    """

    name: str
    size: int
    unit: str
    frame: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ActionSpec:
    """What an action is.

    Attributes:
        mode: name of the control mode.
        components: its parts, in this order.
        horizon: actions per chunk that a policy gives.
        rate: actions per second; None where an action takes as long as its motion.
    """

    mode: str
    components: tuple[Component, ...]
    horizon: int = 1
    rate: float | None = None

    @property
    def size(self) -> int:
        """Numbers per action."""
        return sum(part.size for part in self.components)

    def slice_of(self, name: str) -> slice:
        """Where component `name` stands in an action.

        Raises:
            KeyError: there is none of that name.
        """
        start = 0
        for part in self.components:
            if part.name == name:
                return slice(start, start + part.size)
            start += part.size
        raise KeyError(f"{self.mode} has no component {name}")

    def has(self, name: str) -> bool:
        """Whether an action has a component `name`."""
        return any(part.name == name for part in self.components)

    def describe(self) -> str:
        """The components in words."""
        return ", ".join(
            f"{part.name} {part.unit}" if part.size > 1 else part.name for part in self.components
        )

    def is_open(self, action: np.ndarray) -> bool:
        """Whether `action` (size,) commands the gripper to be open afterwards."""
        return bool(action[self.slice_of("gripper")][0] > 0.5)


_POSITION = Component("position", 3, "m", "world")
_QUATERNION = Component("quaternion", 4, "xyzw", "world", -1.0, 1.0)
OPENING = "1 open, 0 closed"  # the unit of a gripper
_GRIPPER = Component("gripper", 1, OPENING, "", 0.0, 1.0)
DENSE_RATE = 20.0  # Hz, of recorded frames

KEYFRAME_POSE = ActionSpec(
    "keyframe_pose",
    (_POSITION, _QUATERNION, _GRIPPER, Component("ignore_collisions", 1, "1 or 0", "", 0.0, 1.0)),
)
EE_POSE = ActionSpec("ee_pose", (_POSITION, _QUATERNION, _GRIPPER), rate=DENSE_RATE)
EE_DELTA = ActionSpec(
    "ee_delta",
    (
        Component("translation", 3, "m", "world"),
        Component("rotation_vector", 3, "rad", "world"),
        _GRIPPER,
    ),
    rate=DENSE_RATE,
)
# Of recorded data only, at whatever rate they have: simulators here take rotation vectors.
EE_DELTA_RPY = ActionSpec(
    "ee_delta_rpy",
    (Component("translation", 3, "m"), Component("roll_pitch_yaw", 3, "rad"), _GRIPPER),
)
# Of recorded data only: absolute targets, the opening of the gripper as it was commanded.
EE_POSE_6D = ActionSpec(
    "ee_pose_6d",
    (
        Component("position", 3, "m"),
        Component("rotation_6d", 6, "first two rows of the matrix", "", -1.0, 1.0),
        Component("gripper", 1, "as recorded"),
    ),
)

Controls = Mapping[str, ActionSpec]
