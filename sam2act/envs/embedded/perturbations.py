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

from sam2act.envs.embedded import distractors
from sam2act.envs.embedded.camera import RayCamera
from sam2act.envs.embedded.parts import COLORS
from sam2act.envs.embedded.scene import Scene
from sam2act.envs.embedded.shading import OBJECT_TEXTURES
from sam2act.envs.embedded.task import Task
from sam2act.envs.embedded.workspace import TABLE_GEOMS, WALL_GEOMS

HUE_JITTER = 0.05  # of each colour channel
TABLE_COLOR_RANGE = (0.25, 1.0)
LIGHT_COLOR_RANGE = (0.5, 1.5)
LIGHT_CONE = np.deg2rad(40)
CAMERA_SHIFT, CAMERA_TURN = 0.1, 0.05  # metres and radians, per axis
SCALING_RANGE = (0.5, 2.0)  # of mass and friction


@dataclass(frozen=True)
class Build:
    """What of a perturbation is part of the compiled model."""

    object_scale: float = 1.0
    receiver_scale: float = 1.0
    distractors: tuple[int, ...] = ()  # entries of distractors.SHAPES


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
        build = replace(build, distractors=distractors.choose(random))
    return build


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
Names = Callable[[Task], Sequence[str]]


def _manipulated(task: Task) -> Sequence[str]:
    return task.manipulated


def _receivers(task: Task) -> Sequence[str]:
    return task.receivers


def _geoms(stage: Stage, names: Sequence[str]) -> list[int]:
    return [geom for name in names for geom in stage.scene.geoms(name)]


def _color_of(names: Names) -> Effect:
    def effect(stage: Stage, random: np.random.Generator) -> None:
        color = np.asarray(list(COLORS.values()))[random.integers(len(COLORS))]
        color = np.clip(color + random.uniform(-HUE_JITTER, HUE_JITTER, 3), 0, 1)
        for geom in _geoms(stage, names(stage.task)):
            stage.scene.model.geom_rgba[geom, :3] = color

    return effect


def _texture_of(names: Names) -> Effect:
    def effect(stage: Stage, random: np.random.Generator) -> None:
        texture = str(random.choice(OBJECT_TEXTURES))
        for geom in _geoms(stage, names(stage.task)):
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
    "object_color": _color_of(_manipulated),
    "receiver_color": _color_of(_receivers),
    "object_texture": _texture_of(_manipulated),
    "receiver_texture": _texture_of(_receivers),
    "table_texture": _texture_of(lambda task: TABLE_GEOMS),
    "background_texture": _texture_of(lambda task: (*WALL_GEOMS, "floor")),
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
