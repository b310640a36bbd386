"""Changes of a scene in the manner of The Colosseum, sampled per episode.

A perturbed episode has the same layout as the unperturbed one of the same seed: the draws made
here come from a generator spawned from the episode's, which leaves the episode's own untouched.
What an instruction says stays true: parts that it tells by their looks (`Task.told_by_looks`) keep
colour and texture, and nothing else gets one of their colours.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Task
from sam2act.envs.embedded.perturbations import distractors, effects
from sam2act.envs.embedded.perturbations.effects import Build, Effect, Stage
from sam2act.envs.embedded.sensors.shading import OBJECT_TEXTURES

LIGHT_CONE = np.deg2rad(40)
SCALING_RANGE = (0.5, 2.0)  # of mass and friction
COLOSSEUM, EXTRA = "all", "extra"  # The Colosseum's factors, and those it does not have


TaskClass = type[Task]


@dataclass(frozen=True)
class Factor:
    """One way to perturb.

    Attributes:
        effect: on a scene; None = what it changes is part of `Build`.
        acts: whether a task has anything that it may change.
        in_colosseum: whether The Colosseum has it, for a task; elsewhere it is this project's own.
    """

    effect: Effect | None
    acts: Callable[[TaskClass], bool] = lambda task: True
    in_colosseum: Callable[[TaskClass], bool] = lambda task: True


def check_factors(names: Sequence[str]) -> tuple[str, ...]:
    """`names` once each, in a fixed order: factors, and the sets `all` and `extra`.

    Raises:
        ValueError: a name is unknown.
    """
    known = (COLOSSEUM, EXTRA, *FACTORS)
    unknown = [name for name in names if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"perturbation {', '.join(unknown)} unknown; {guess}there are {', '.join(FACTORS)}, "
            f"{COLOSSEUM} (those of The Colosseum) and {EXTRA} (the others)"
        )
    return tuple(name for name in known if name in names)


def factors_of(names: Sequence[str], task: TaskClass) -> tuple[str, ...]:
    """The factors meant by `names` that change something in `task`, in the order of `FACTORS`.

    Raises:
        ValueError: a name is unknown.
    """
    names = check_factors(names)
    chosen = []
    for name, factor in FACTORS.items():
        group = COLOSSEUM if factor.in_colosseum(task) else EXTRA
        if (name in names or group in names) and factor.acts(task):
            chosen.append(name)
    return tuple(chosen)


class Perturber:
    """Factors that are drawn anew in every episode of a task.

    Args:
        names: of factors, and of the sets `all` and `extra`.
        task: what is perturbed.

    Attributes:
        names: the factors that change something in the task.
        every_variation: whether all variations of the task occur.

    Raises:
        ValueError: a name is unknown.
    """

    every_variation = True

    def __init__(self, names: Sequence[str], task: TaskClass) -> None:
        self.names, self._task = factors_of(names, task), task

    def sample_build(self, random: np.random.Generator) -> Build:
        """The sizes and additional things of an episode."""
        task, build = self._task, Build()
        if "object_size" in self.names:
            assert task.object_sizes is not None
            build = replace(build, object_scale=float(random.uniform(*task.object_sizes)))
        if "receiver_size" in self.names:
            assert task.receiver_sizes is not None
            build = replace(build, receiver_scale=float(random.uniform(*task.receiver_sizes)))
        if "distractor_object" in self.names:
            build = replace(build, distractors=distractors.choose(random, task.lookalikes))
        return build

    def place(self, stage: Stage, build: Build, random: np.random.Generator) -> None:
        """Put distractors where they do not hinder the script.

        Raises:
            BoundaryError: no free place was found.
        """
        if not build.distractors:
            return
        scene, task = stage.scene, stage.task
        positions = np.array([point.pose[:3] for point in task.waypoints(scene)])
        colors = free_colors(scene, task)
        distractors.place(scene, build.distractors, positions, colors, random)

    def apply(self, stage: Stage, random: np.random.Generator) -> None:
        """Change colours, textures, light, camera poses, mass and friction of a scene.

        Every factor draws from a generator of its own, so that combining factors does not change
        what each of them does.
        """
        generators = dict(zip(FACTORS, random.spawn(len(FACTORS)), strict=True))
        for name in self.names:
            effect = FACTORS[name].effect
            if effect is not None:
                effect(stage, generators[name])


def free_colors(scene: Scene, task: Task) -> list[tuple[float, float, float]]:
    """RLBench's colours without those of the parts that the instruction tells by their looks."""
    taken = scene.model.geom_rgba[_geoms(scene, task.told_by_looks), :3]
    return [color for color in COLORS.values() if not np.isclose(taken, color).all(axis=1).any()]


# --------------------------------------------------------------------------------- factors
Names = Callable[[TaskClass], Sequence[str]]


def _objects(task: TaskClass) -> Sequence[str]:
    return [name for name in task.manipulated if name not in task.told_by_looks]


def _receivers(task: TaskClass) -> Sequence[str]:
    return [name for name in task.receivers if name not in task.told_by_looks]


def _loads(task: TaskClass) -> Sequence[str]:
    return task.pushed or task.manipulated


def _geoms(scene: Scene, names: Sequence[str]) -> list[int]:
    return [geom for name in names for geom in scene.geoms(name)]


def _color_of(names: Names) -> Factor:
    def effect(stage: Stage, random: np.random.Generator) -> None:
        colors = free_colors(stage.scene, stage.task)
        color = colors[random.integers(len(colors))]
        for geom in _geoms(stage.scene, names(type(stage.task))):
            stage.scene.model.geom_rgba[geom, :3] = color

    return Factor(effect, lambda task: bool(names(task)))


def _texture_of(names: Names) -> Factor:
    def effect(stage: Stage, random: np.random.Generator) -> None:
        texture = str(random.choice(OBJECT_TEXTURES))
        effects.set_texture(stage, _geoms(stage.scene, names(type(stage.task))), texture)

    return Factor(effect, lambda task: bool(names(task)))


def _light_direction(stage: Stage, random: np.random.Generator) -> None:
    angle, around = LIGHT_CONE * np.sqrt(random.random()), 2 * np.pi * random.random()
    shader = stage.camera.shader
    side = np.cross(shader.sun_direction, [1.0, 0.0, 0.0])
    tilt = Rotation.from_rotvec(angle * side / np.linalg.norm(side))
    spin = Rotation.from_rotvec(around * shader.sun_direction)
    shader.sun_direction = (spin * tilt).apply(shader.sun_direction)


def _object_mass(stage: Stage, random: np.random.Generator) -> None:
    model, factor = stage.scene.model, random.uniform(*SCALING_RANGE)
    geoms = _geoms(stage.scene, _loads(type(stage.task)))
    bodies = sorted({int(model.geom_bodyid[geom]) for geom in geoms} - {0})
    effects.scale_mass(model, bodies, factor)


def _object_friction(stage: Stage, random: np.random.Generator) -> None:
    factor = random.uniform(*SCALING_RANGE)
    for geom in _geoms(stage.scene, _loads(type(stage.task))):
        stage.scene.model.geom_friction[geom] *= factor


FACTORS: Mapping[str, Factor] = {
    "object_color": _color_of(_objects),
    "receiver_color": _color_of(_receivers),
    "object_texture": _texture_of(_objects),
    "receiver_texture": _texture_of(_receivers),
    "table_texture": Factor(effects.EVERYWHERE["table_texture"]),
    "background_texture": Factor(effects.EVERYWHERE["background_texture"]),
    "table_color": Factor(effects.EVERYWHERE["table_color"]),
    "light_color": Factor(effects.EVERYWHERE["light_color"]),
    "light_direction": Factor(_light_direction, in_colosseum=lambda task: False),
    "object_size": Factor(None, lambda task: task.object_sizes is not None),
    "receiver_size": Factor(None, lambda task: task.receiver_sizes is not None),
    "distractor_object": Factor(None),
    "camera_pose": Factor(effects.EVERYWHERE["camera_pose"]),
    # The Colosseum varies these where a thing is pushed or dragged.
    "object_mass": Factor(_object_mass, in_colosseum=lambda task: bool(task.pushed)),
    "object_friction": Factor(_object_friction, in_colosseum=lambda task: bool(task.pushed)),
}
