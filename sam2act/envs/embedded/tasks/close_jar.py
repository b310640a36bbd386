"""RLBench: screw the lid onto the jar of the named colour."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.assembly import Look, geom_name
from sam2act.envs.embedded.kit.facts import ShapeFacts
from sam2act.envs.embedded.kit.mjcf import box, cylinder
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.placing import Boundary
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene

JARS, LID = ("jar0", "jar1"), "jar_lid0"
DETECTION_HEIGHT, HOVER_HEIGHT = 0.05, 0.125  # metres above the middle of the asked jar
# Radius, lower and upper end of the round parts of a jar in its frame, metres.
_JAR = (
    (0.0456, -0.0549, 0.034),
    (0.0425, 0.034, 0.043),
    (0.039, 0.043, 0.049),
    (0.034, 0.049, 0.0549),
)
_JAR_AXIS = 0.0013  # y, metres
_LABEL, _LABEL_HALF = (-0.001, -0.0419, -0.004), (0.0155, 0.005, 0.0208)  # metres
_LID_RADIUS, _LID_HALF_HEIGHT = 0.0371, 0.0106  # metres


class CloseJar(PublishedTask):
    """Variation v: colour v, of the jar with number v modulo 2.

    There is no thread: the lid is turned by a quarter over the jar and dropped. Quirk: it counts as
    closed once it is there, even in the hand.
    """

    variations = len(COLORS)
    graspable = manipulated = resized = (LID,)
    receivers = told_by_looks = resized_receivers = JARS
    object_sizes = (0.9, 1.05)
    receiver_sizes = (0.9, 1.0)

    deviations: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("base.position", "base.yaw"),
        "The published ranges are computed with one jar outside of its plane, as at loading; with "
        "both jars in the plane the box around everything is smaller, and more places fit.",
    )

    def looks(self) -> Mapping[str, Look]:
        """Jars with a neck, and a flat lid."""
        makers = {LID: _lid, **dict.fromkeys(JARS, _jar)}
        return {
            name: Look(partial(make, name, self.facts.shape(name))) for name, make in makers.items()
        }

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Both jars stand at random places; the lid lies where it always does in the scene."""
        frames, random, names = scene.frames, scene.random, list(COLORS)
        boundary = Boundary(frames, ["spawn_boundary"], random)
        for jar in JARS:
            boundary.sample(jar)
        asked, other = JARS[variation % 2], JARS[1 - variation % 2]
        color = names[variation]
        scene.set_color(asked, COLORS[color])
        scene.set_color(other, COLORS[random.choice([name for name in names if name != color])])
        above = frames.pose("success")
        above[:3, 3] = frames.pose(asked)[:3, 3] + (0, 0, DETECTION_HEIGHT)
        frames.move("success", above)
        above[:3, :3] = Rotation.from_euler("y", np.pi).as_matrix()
        above[:3, 3] = frames.pose(asked)[:3, 3] + (0, 0, HOVER_HEIGHT)
        frames.move("waypoint3", above)
        return [
            f"close the {color} jar",
            f"screw the lid onto the {color} jar",
            f"pick up the lid and shut the {color} jar with it",
            f"the {color} jar needs its lid",
        ]

    def success(self, scene: Scene) -> bool:
        """Some part of the lid is right above the mouth of the asked jar."""
        return scene.detects("success", LID)


def _jar(name: str, facts: ShapeFacts, scale: float) -> str:
    """A jar that narrows towards its mouth, with a label."""
    share = facts.mass * scale**3 / (len(_JAR) + 1)
    parts = [
        cylinder(
            scale * radius,
            scale * (top - bottom) / 2,
            facts.color,
            pos=(0, scale * _JAR_AXIS, scale * (top + bottom) / 2),
            name=geom_name(name, number),
            mass=share,
        )
        for number, (radius, bottom, top) in enumerate(_JAR)
    ]
    half, spot = scale * np.array(_LABEL_HALF), scale * np.array(_LABEL)
    label = box(half, facts.color, pos=spot, name=geom_name(name, len(_JAR)), mass=share)
    return "".join([*parts, label])


def _lid(name: str, facts: ShapeFacts, scale: float) -> str:
    return cylinder(
        scale * _LID_RADIUS,
        scale * _LID_HALF_HEIGHT,
        facts.color,
        name=geom_name(name, 0),
        mass=facts.mass * scale**3,
    )
