"""The Franka Panda as RLBench places it: kinematics, shapes, servos.

Joint angles here follow the Denavit-Hartenberg model. RLBench reads joint 4 four degrees lower;
`to_rlbench_joints` and `from_rlbench_joints` convert, and nothing else does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sam2act.envs.embedded.kit.mjcf import SENSOR_GROUP, body, box, capsule, cylinder, element

NUM_JOINTS = 7
BASE_POSITION = (-0.268, -0.008, 0.7476)  # metres
JOINT4_OFFSET = np.deg2rad(4.0)
TIP_OFFSET = 0.1083  # metres from the flange to the point between the fingertips
FINGER_TRAVEL = 0.04  # metres per finger
FINGER_CLOSED_TARGET = -0.005  # metres; beyond contact, so that the fingers press
OPEN_FRACTION = 0.95  # of the finger travel; RLBench upstream uses 0.9, the reference fork 0.95
HOME = np.array([0.0, 0.175, 0.0, -0.873 + JOINT4_OFFSET, 0.0, 1.2215, 0.785])
REST = np.array([0.0, 0.30, 0.0, -1.6, 0.0, 1.9, 0.785])  # posture that the null space prefers
LIMITS = np.array(
    [
        (-2.8973, 2.8973),
        (-1.7628, 1.7628),
        (-2.8973, 2.8973),
        (-3.0718, -0.0698),
        (-2.8973, 2.8973),
        (-0.0175, 3.7525),
        (-2.8973, 2.8973),
    ]
)
STIFFNESS = np.array([4500, 4500, 3500, 3500, 2000, 2000, 2000], float)
DAMPING = np.array([300, 300, 250, 250, 120, 120, 120], float)
# Without it the servos lag behind a moving target by about four degrees at full speed.
VELOCITY_FEED_FORWARD = DAMPING / STIFFNESS
FINGER_JOINTS = ("finger_left_joint", "finger_right_joint")
OPEN_COMMAND = 0.9  # fraction of the travel above which a command counts as open
SENSOR = "hand_sensor"  # what lies in it is attached when the gripper closes
PADS = ("pad_left", "pad_right")
ROBOT_BODIES = (
    "panda_base",
    *(f"link{number}" for number in range(1, NUM_JOINTS + 1)),
    "hand",
    "finger_left",
    "finger_right",
)

WHITE, GREY, BLACK = (0.93, 0.93, 0.93), (0.30, 0.31, 0.33), (0.12, 0.12, 0.13)


_Point = tuple[float, float, float]  # metres
_Tube = tuple[_Point, _Point, float]  # from, to, radius


class _Link(NamedTuple):
    """A moving link: where its joint sits in the parent, its turn about x, mass and shapes."""

    position: _Point
    turn: float  # degrees about x
    mass: float
    capsules: tuple[_Tube, ...]
    rings: tuple[_Tube, ...] = ()  # dark cylinders, only seen


# Fitted to the depth images of recorded demos, so that what is seen as robot agrees with them.
_LINKS = (
    _Link(
        (0, 0, 0.333), 0, 3.0,
        (
            ((-0.001, 0.009, -0.287), (-0.002, -0.012, -0.046), 0.057),
        ),
    ),
    _Link(
        (0, 0, 0), -90, 3.0,
        (
            ((0.001, 0.005, -0.073), (-0.008, -0.003, 0.077), 0.060),
            ((0.016, -0.038, 0.052), (0.014, -0.131, 0.002), 0.037),
        ),
        (
            ((-0.001, 0, -0.114), (-0.001, 0.001, -0.108), 0.050),
            ((-0.001, 0, 0.106), (0, -0.003, 0.120), 0.047),
        ),
    ),
    _Link(
        (0, -0.316, 0), 90, 2.5,
        (
            ((-0.001, -0.001, -0.192), (0.001, 0.002, -0.064), 0.054),
            ((0.055, 0.025, -0.033), (0.072, -0.005, -0.008), 0.047),
        ),
        (
            ((0.086, -0.077, 0.008), (0.081, 0.070, 0), 0.053),
        ),
    ),
    _Link(
        (0.0825, 0, 0), 90, 2.5,
        (
            ((0.004, -0.004, -0.060), (-0.006, 0.006, 0.052), 0.057),
            ((-0.047, 0.039, 0.015), (-0.080, 0.053, -0.009), 0.037),
        ),
        (
            ((0.002, -0.003, -0.089), (-0.005, 0.003, -0.057), 0.051),
            ((-0.003, -0.009, 0.052), (-0.001, 0.003, 0.086), 0.048),
        ),
    ),
    _Link(
        (-0.0825, 0.384, 0), -90, 2.5,
        (
            ((0, 0.001, -0.318), (-0.003, 0.002, -0.225), 0.054),
            ((-0.013, 0.014, -0.209), (0.002, 0.057, -0.181), 0.040),
            ((-0.008, 0.076, -0.158), (-0.005, 0.098, -0.051), 0.024),
            ((-0.001, 0.086, -0.007), (0.001, -0.009, 0.028), 0.048),
        ),
    ),
    _Link(
        (0, 0, 0), 90, 1.5,
        (
            ((0.001, 0.002, -0.089), (0, 0.001, 0.010), 0.049),
            ((0.029, -0.005, 0.014), (0.081, 0.051, -0.001), 0.042),
        ),
        (
            ((0.086, -0.028, -0.002), (0.085, 0.047, 0), 0.044),
        ),
    ),
    _Link(
        (0.088, 0, 0), 90, 0.7,
        (
            ((-0.002, -0.004, -0.013), (-0.001, -0.002, 0.074), 0.043),
        ),
        (
            ((-0.001, -0.001, 0.063), (-0.001, -0.002, 0.095), 0.044),
        ),
    ),
)  # fmt: skip


def to_rlbench_joints(angles: np.ndarray) -> np.ndarray:
    """Joint angles (7,) radians as RLBench reports them (joint 4 reads four degrees less)."""
    angles = np.array(angles, float)
    angles[3] -= JOINT4_OFFSET
    return angles


def from_rlbench_joints(angles: np.ndarray) -> np.ndarray:
    """Joint angles (7,) radians of this model from those that RLBench reports."""
    angles = np.array(angles, float)
    angles[3] += JOINT4_OFFSET
    return angles


def robot_body() -> str:
    """The arm with hand and fingers as one MJCF body, joints `joint1` .. `joint7`."""
    chain = _hand()
    for number in range(NUM_JOINTS, 0, -1):
        chain = _link(number, chain)
    return body(
        "panda_base",
        capsule((-0.06, 0, 0.06), (0, 0, 0.06), 0.06, WHITE, class_="robot"),
        chain,
        pos=BASE_POSITION,
    )


def _link(number: int, child: str) -> str:
    link = _LINKS[number - 1]
    half = np.deg2rad(link.turn) / 2
    return body(
        f"link{number}",
        element("inertial", pos=(0, 0, 0), mass=link.mass, diaginertia=(0.03, 0.03, 0.03)),
        element(
            "joint",
            name=f"joint{number}",
            axis=(0, 0, 1),
            range=LIMITS[number - 1],
            damping=1,
            armature=0.1,
        ),
        *(
            capsule(start, stop, radius, WHITE, class_="robot")
            for start, stop, radius in link.capsules
        ),
        *(
            element(
                "geom",
                class_="visual",
                type="cylinder",
                fromto=[*start, *stop],
                size=radius,
                rgba=[*GREY, 1],
            )
            for start, stop, radius in link.rings
        ),
        child,
        pos=link.position,
        quat=(np.cos(half), np.sin(half), 0, 0),
        gravcomp=1,
    )


def _hand() -> str:
    half = np.deg2rad(135) / 2  # RLBench's tip frame is turned against the flange
    return body(
        "hand",
        element("inertial", pos=(0, 0, 0.03), mass=0.6, diaginertia=(0.002, 0.002, 0.001)),
        box((0.0145, 0.096, 0.036), WHITE, pos=(0, 0.002, 0.024), class_="robot"),
        box((0.0175, 0.0985, 0.035), WHITE, pos=(0, 0, 0.026), class_="visual"),
        box((0.0335, 0.0295, 0.0155), GREY, pos=(0, -0.055, -0.026), class_="visual"),
        box((0.0275, 0.071, 0.008), GREY, pos=(0, 0.041, -0.020), class_="visual"),
        box((0.0095, 0.092, 0.002), BLACK, pos=(0, 0, 0.060), class_="visual"),
        element("site", name="tip", pos=(0, 0, TIP_OFFSET), size=0.004, rgba=(1, 0, 0, 0)),
        box(
            (0.0095, 0.030, 0.014),
            (0, 1, 0),
            pos=(0, 0, TIP_OFFSET - 0.011),
            name=SENSOR,
            class_="visual",
            group=SENSOR_GROUP,
        ),
        _finger("left", 1),
        _finger("right", -1),
        pos=(0, 0, 0.107),
        quat=(np.cos(half), 0, 0, np.sin(half)),
        gravcomp=1,
    )


def _finger(side: str, sign: int) -> str:
    return body(
        f"finger_{side}",
        element("inertial", pos=(0, sign * 0.01, 0.03), mass=0.03, diaginertia=(1e-4, 1e-4, 1e-4)),
        element(
            "joint",
            name=f"finger_{side}_joint",
            type="slide",
            axis=(0, sign, 0),
            range=(0, FINGER_TRAVEL),
            damping=20,
            armature=0.05,
        ),
        box((0.010, 0.004, 0.017), WHITE, pos=(0, sign * 0.0175, 0.011), class_="robot"),
        box(
            (0.0095, 0.0075, 0.0150),
            BLACK,
            pos=(0, sign * 0.0075, 0.0385),
            class_="pad",
            name=f"pad_{side}",
        ),
        pos=(0, 0, TIP_OFFSET - 0.0536),
        gravcomp=1,
    )


def actuators() -> str:
    """Position servos of the joints and the fingers."""
    servos = [
        element(
            "position",
            name=f"servo{number + 1}",
            joint=f"joint{number + 1}",
            kp=STIFFNESS[number],
            kv=DAMPING[number],
            ctrlrange=LIMITS[number],
        )
        for number in range(NUM_JOINTS)
    ]
    servos += [
        element(
            "position",
            name=f"servo_{joint}",
            joint=joint,
            kp=1500,
            kv=60,
            ctrlrange=(-0.01, FINGER_TRAVEL),
            forcerange=(-40, 40),
        )
        for joint in FINGER_JOINTS
    ]
    return "".join(servos)


def exclusions() -> str:
    """Pairs of neighbouring links whose shapes overlap."""
    pairs = [("link7", "hand"), ("link5", "link7"), ("link6", "hand")]
    pairs += [("hand", "finger_left"), ("hand", "finger_right")]
    return "".join(element("exclude", body1=first, body2=second) for first, second in pairs)


def base_plate() -> str:
    """What the arm stands on: a disc and a plate, only seen."""
    x, y, z = BASE_POSITION
    return cylinder(0.075, 0.025, WHITE, pos=(x, y, z + 0.025), class_="visual") + box(
        (0.09, 0.07, 0.03), WHITE, pos=(x - 0.04, y, z + 0.03), class_="visual"
    )
