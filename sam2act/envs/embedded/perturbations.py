"""Colosseum-style changes of a scene, sampled per episode (spec section 9).

A perturbed episode has the same layout as the unperturbed one of the same seed: the draws made
here come from a generator spawned from the episode's, which leaves the episode's own untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.camera import RayCamera
from sam2act.envs.embedded.mjcf import Fragment, free_body, shape
from sam2act.envs.embedded.parts import COLORS
from sam2act.envs.embedded.scene import Area, Scene
from sam2act.envs.embedded.shading import OBJECT_TEXTURES
from sam2act.envs.embedded.task import Task
from sam2act.envs.embedded.workspace import TABLE_GEOMS, TABLE_HEIGHT, WALL_GEOMS

HUE_JITTER = 0.05  # of each colour channel
TABLE_COLOR_RANGE = (0.25, 1.0)
LIGHT_COLOR_RANGE = (0.5, 1.5)
LIGHT_CONE = np.deg2rad(40)
CAMERA_SHIFT, CAMERA_TURN = 0.1, 0.05  # metres and radians, per axis
SCALING_RANGE = (0.5, 2.0)  # of mass and friction
MOST_DISTRACTORS = 3
DISTRACTOR_CLEARANCE = 0.09  # metres from every waypoint and everything spawned
_DISTRACTOR_AREA = Area((0.22, 0.0), (0.30, 0.42))
_DISTRACTOR_RADIUS = 0.035
_DISTRACTOR_TRIES = 200

# Kind and half extents in metres; all stand on the table and are low enough to reach over.
DISTRACTOR_SHAPES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("box", (0.02, 0.02, 0.02)),
    ("box", (0.03, 0.015, 0.01)),
    ("box", (0.015, 0.015, 0.03)),
    ("box", (0.025, 0.025, 0.008)),
    ("cylinder", (0.02, 0.02)),
    ("cylinder", (0.015, 0.03)),
    ("cylinder", (0.03, 0.008)),
    ("cylinder", (0.012, 0.012)),
    ("sphere", (0.02,)),
    ("sphere", (0.028,)),
    ("ellipsoid", (0.03, 0.02, 0.015)),
    ("ellipsoid", (0.018, 0.018, 0.026)),
)


@dataclass(frozen=True)
class Build:
    """What of a perturbation is part of the compiled model."""

    object_scale: float = 1.0
    receiver_scale: float = 1.0
    distractors: tuple[int, ...] = ()  # entries of DISTRACTOR_SHAPES


@dataclass
class Stage:
    """The parts of an episode that perturbations touch."""

    scene: Scene
    task: Task
    camera: RayCamera


Effect = Callable[[Stage, np.random.Generator], None]


def check_factors(names: Sequence[str]) -> tuple[str, ...]:
    """The factors meant by `names`, in the order of `FACTORS`; `all` means every one.

    Raises:
        ValueError: a name is unknown.
    """
    unknown = [name for name in names if name not in FACTORS and name != "all"]
    if unknown:
        raise ValueError(
            f"perturbation {', '.join(unknown)} unknown; there are {', '.join(FACTORS)} and all"
        )
    return tuple(name for name in FACTORS if "all" in names or name in names)


def sample_build(factors: Sequence[str], task: type[Task], random: np.random.Generator) -> Build:
    """The sizes and additional things of an episode; sizes that a task cannot vary stay."""
    build = Build()
    if "object_size" in factors and task.object_sizes is not None:
        build = replace(build, object_scale=float(random.uniform(*task.object_sizes)))
    if "receiver_size" in factors and task.receiver_sizes is not None:
        build = replace(build, receiver_scale=float(random.uniform(*task.receiver_sizes)))
    if "distractor_object" in factors:
        count = int(random.integers(1, MOST_DISTRACTORS + 1))
        chosen = random.choice(len(DISTRACTOR_SHAPES), count, replace=False)
        build = replace(build, distractors=tuple(int(number) for number in chosen))
    return build


def distractor_fragment(build: Build) -> Fragment:
    """The bodies `distractor<i>` of a build."""
    bodies = []
    for index, number in enumerate(build.distractors):
        kind, size = DISTRACTOR_SHAPES[number]
        geom = shape(kind, size, (0.5, 0.5, 0.5), density=300, name=f"distractor{index}_geom")
        bodies.append(free_body(f"distractor{index}", geom, pos=(0, 0, 3 + index)))
    return Fragment("".join(bodies))


def place_distractors(
    scene: Scene, build: Build, waypoints: np.ndarray, random: np.random.Generator
) -> None:
    """Put the distractors where they neither touch anything nor hinder the script.

    Args:
        scene: the scene after the task has placed its own things.
        build: says which distractors there are.
        waypoints: (N, 3) metres, positions that must stay clear.
        random: source of positions.

    Raises:
        BoundaryError: no free place was found.
    """
    for index, number in enumerate(build.distractors):
        name = f"distractor{index}"
        height = TABLE_HEIGHT + _rest_height(*DISTRACTOR_SHAPES[number])
        scene.set_color(name, random.choice(list(COLORS.values())))
        if not any(
            _try_place(scene, name, height, waypoints, random) for _ in range(_DISTRACTOR_TRIES)
        ):
            raise BoundaryError(f"{name}: no place away from waypoints and other things")


def _try_place(
    scene: Scene, name: str, height: float, waypoints: np.ndarray, random: np.random.Generator
) -> bool:
    center, half = np.asarray(_DISTRACTOR_AREA.center), np.asarray(_DISTRACTOR_AREA.half)
    spot = random.uniform(center - half, center + half)
    clearance = DISTRACTOR_CLEARANCE + _DISTRACTOR_RADIUS
    if len(waypoints) and np.linalg.norm(waypoints[:, :2] - spot, axis=1).min() < clearance:
        return False
    scene.place(name, [*spot, height], yaw=float(random.uniform(-np.pi, np.pi)))
    mujoco.mj_forward(scene.model, scene.data)
    number = scene.model.body(name).id
    pairs = scene.model.geom_bodyid[scene.data.contact.geom[: scene.data.ncon]]
    others = {other for pair in pairs.tolist() if number in pair for other in pair} - {number}
    return others <= {0} and not _lies_under_something(scene, spot)


def _lies_under_something(scene: Scene, spot: np.ndarray) -> bool:
    """Whether a shape that is only seen, or that hangs above, covers `spot`."""
    hit = np.zeros(1, np.int32)
    origin = np.array([*spot, TABLE_HEIGHT + 0.6])
    normal = np.zeros(3)
    clear = []
    for shift in _RING:
        mujoco.mj_ray(
            scene.model,
            scene.data,
            origin + shift,
            np.array([0.0, 0, -1]),
            None,
            1,
            -1,
            hit,
            normal,
        )
        body = scene.model.geom_bodyid[hit[0]]
        clear.append(body == 0 or scene.model.body(body).name.startswith("distractor"))
    return not all(clear)


_ANGLES = 2 * np.pi * np.arange(8) / 8
_RING = np.concatenate(
    [
        np.zeros((1, 3)),
        0.05 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES), np.zeros(8)], axis=1),
    ]
)


def _rest_height(kind: str, size: Sequence[float]) -> float:
    """Half of the height of an upright shape."""
    return size[0] if kind == "sphere" else size[-1]


def apply(
    factors: Sequence[str],
    stage: Stage,
    random: np.random.Generator,
) -> None:
    """Change colours, textures, light, camera poses, mass and friction of a scene.

    Every factor draws from a generator of its own, so that combining factors does not change what
    each of them does.
    """
    generators = dict(zip(FACTORS, random.spawn(len(FACTORS)), strict=True))
    for name in factors:
        FACTORS[name](stage, generators[name])


# --------------------------------------------------------------------------------- factors
def _geoms(stage: Stage, names: Sequence[str]) -> list[int]:
    return [geom for name in names for geom in stage.scene.geoms(name)]


def _any_color(random: np.random.Generator) -> np.ndarray:
    color = np.asarray(list(COLORS.values()))[random.integers(len(COLORS))]
    return np.clip(color + random.uniform(-HUE_JITTER, HUE_JITTER, 3), 0, 1)


def _color_of(part: str) -> Effect:
    def effect(stage: Stage, random: np.random.Generator) -> None:
        color = _any_color(random)
        for geom in _geoms(stage, getattr(stage.task, part)):
            stage.scene.model.geom_rgba[geom, :3] = color

    return effect


def _texture_of(part: str) -> Effect:
    def effect(stage: Stage, random: np.random.Generator) -> None:
        texture = str(random.choice(OBJECT_TEXTURES))
        for geom in _geoms(stage, getattr(stage.task, part)):
            stage.camera.shader.textures[geom] = texture

    return effect


def _surface_texture(*geoms: str) -> Effect:
    def effect(stage: Stage, random: np.random.Generator) -> None:
        texture = str(random.choice(OBJECT_TEXTURES))
        for geom in _geoms(stage, geoms):
            stage.camera.shader.textures[geom] = texture

    return effect


def _table_color(stage: Stage, random: np.random.Generator) -> None:
    color = random.uniform(*TABLE_COLOR_RANGE, 3)
    for name in TABLE_GEOMS:
        stage.scene.set_color(name, color)


def _light_color(stage: Stage, random: np.random.Generator) -> None:
    stage.camera.shader.light_color = random.uniform(*LIGHT_COLOR_RANGE, 3)


def _light_direction(stage: Stage, random: np.random.Generator) -> None:
    angle, around = LIGHT_CONE * np.sqrt(random.random()), 2 * np.pi * random.random()
    shader = stage.camera.shader
    side = np.cross(shader.sun_direction, [1.0, 0.0, 0.0])
    tilt = Rotation.from_rotvec(angle * side / np.linalg.norm(side))
    spin = Rotation.from_rotvec(around * shader.sun_direction)
    shader.sun_direction = (spin * tilt).apply(shader.sun_direction)


def _camera_pose(stage: Stage, random: np.random.Generator) -> None:
    for name, spec in stage.camera.specs.items():
        if spec.on_hand:
            continue
        pose = spec.pose.copy()
        pose[:3, 3] += random.uniform(-CAMERA_SHIFT, CAMERA_SHIFT, 3)
        turn = Rotation.from_euler("xyz", random.uniform(-CAMERA_TURN, CAMERA_TURN, 3))
        pose[:3, :3] = pose[:3, :3] @ turn.as_matrix()
        stage.camera.specs[name] = replace(spec, pose=pose)


def _manipulated_bodies(stage: Stage) -> list[int]:
    model = stage.scene.model
    bodies = {int(model.geom_bodyid[geom]) for geom in _geoms(stage, stage.task.manipulated)}
    return sorted(bodies - {0})


def _object_mass(stage: Stage, random: np.random.Generator) -> None:
    factor = random.uniform(*SCALING_RANGE)
    for body in _manipulated_bodies(stage):
        stage.scene.model.body_mass[body] *= factor
        stage.scene.model.body_inertia[body] *= factor
    # Constraints scale with inertia at rest; with stale values held objects explode.
    mujoco.mj_setConst(stage.scene.model, mujoco.MjData(stage.scene.model))


def _object_friction(stage: Stage, random: np.random.Generator) -> None:
    factor = random.uniform(*SCALING_RANGE)
    for geom in _geoms(stage, stage.task.manipulated):
        stage.scene.model.geom_friction[geom] *= factor


def _at_build(stage: Stage, random: np.random.Generator) -> None:
    """Factors that act through `Build`, before the model is compiled."""


FACTORS: Mapping[str, Effect] = {
    "object_color": _color_of("manipulated"),
    "receiver_color": _color_of("receivers"),
    "object_texture": _texture_of("manipulated"),
    "receiver_texture": _texture_of("receivers"),
    "table_texture": _surface_texture(*TABLE_GEOMS),
    "background_texture": _surface_texture(*WALL_GEOMS, "floor"),
    "table_color": _table_color,
    "light_color": _light_color,
    "light_direction": _light_direction,
    "object_size": _at_build,
    "receiver_size": _at_build,
    "distractor_object": _at_build,
    "camera_pose": _camera_pose,
    "object_mass": _object_mass,
    "object_friction": _object_friction,
}
