"""What perturbations do to a scene: colours, textures, light, cameras, mass, sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Task
from sam2act.envs.embedded.kit.workspace import TABLE_GEOMS, WALL_GEOMS
from sam2act.envs.embedded.sensors.camera import RayCamera
from sam2act.envs.embedded.sensors.shading import OBJECT_TEXTURES

# The Colosseum's ranges.
TABLE_COLOR_RANGE = (0.25, 1.0)
LIGHT_COLOR_RANGE = (0.0, 0.5)  # of the lamps; what comes from everywhere stays
MOVED_CAMERAS = ("front", "left_shoulder", "right_shoulder")
CAMERA_SHIFT, CAMERA_TURN = 0.1, 0.05  # metres and radians, per axis


@dataclass(frozen=True)
class Build:
    """What a perturbation changes in the compiled model: sizes, and additional objects.

    Attributes:
        object_scale: factor of the manipulated object's size.
        receiver_scale: the same of the receiver.
        distractors: entries of `distractors.SHAPES`.
        scales: name and factor of single objects of a published scene.
    """

    object_scale: float = 1.0
    receiver_scale: float = 1.0
    distractors: tuple[int, ...] = ()
    scales: tuple[tuple[str, float], ...] = ()


@dataclass
class Stage:
    """The parts of an episode that perturbations touch."""

    scene: Scene
    task: Task
    camera: RayCamera


Effect = Callable[[Stage, np.random.Generator], None]


def set_texture(stage: Stage, geoms: Sequence[int], texture: str) -> None:
    """Cover geoms with one of the patterns."""
    for geom in geoms:
        stage.camera.shader.textures[geom] = texture


def scale_mass(model: mujoco.MjModel, bodies: Sequence[int], factor: float) -> None:
    """Multiply mass and inertia of bodies by `factor`."""
    for body in bodies:
        model.body_mass[body] *= factor
        model.body_inertia[body] *= factor
    # Constraints scale with inertia at rest; with stale values held objects explode.
    mujoco.mj_setConst(model, mujoco.MjData(model))


def _table_color(stage: Stage, random: np.random.Generator) -> None:
    color = random.uniform(*TABLE_COLOR_RANGE, 3)
    for name in TABLE_GEOMS:
        stage.scene.set_color(name, color)


def _light_color(stage: Stage, random: np.random.Generator) -> None:
    stage.camera.shader.lamp_color = random.uniform(*LIGHT_COLOR_RANGE, 3)


def _camera_pose(stage: Stage, random: np.random.Generator) -> None:
    for name, spec in stage.camera.specs.items():
        if name not in MOVED_CAMERAS:
            continue
        pose = spec.pose.copy()
        pose[:3, 3] += random.uniform(-CAMERA_SHIFT, CAMERA_SHIFT, 3)
        turn = Rotation.from_euler("xyz", random.uniform(-CAMERA_TURN, CAMERA_TURN, 3))
        pose[:3, :3] = pose[:3, :3] @ turn.as_matrix()
        stage.camera.specs[name] = replace(spec, pose=pose)


def texture_of(names: Sequence[str]) -> Effect:
    """Covers all geoms of `names` with one random pattern."""

    def effect(stage: Stage, random: np.random.Generator) -> None:
        texture = str(random.choice(OBJECT_TEXTURES))
        set_texture(stage, [g for name in names for g in stage.scene.geoms(name)], texture)

    return effect


# Factors that any scene has.
EVERYWHERE: Mapping[str, Effect] = {
    "table_texture": texture_of(TABLE_GEOMS),
    "background_texture": texture_of((*WALL_GEOMS, "floor")),
    "table_color": _table_color,
    "light_color": _light_color,
    "camera_pose": _camera_pose,
}
