"""The Colosseum's own perturbations of the tasks that it has: its targets, ranges and indices.

Unlike the factors of `factors.py`, they do what the benchmark does, quirks included: a recoloured
thing may contradict the instruction that names its colour.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from sam2act.core.errors import ConfigError
from sam2act.core.tasks import COLOSSEUM_INDICES, EVERY_VARIATION, has_index
from sam2act.envs.embedded.kit.facts import scene_facts
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.perturbations import distractors, effects
from sam2act.envs.embedded.perturbations.effects import Build, Stage
from sam2act.envs.embedded.sensors.shading import OBJECT_TEXTURES

_EVERYWHERE = ("light_color", "table_color", "table_texture", "background_texture", "camera_pose")
_OWN_OF_TASKS = (
    *("manip_obj_color", "recv_obj_color", "manip_obj_tex", "recv_obj_tex"),
    *("manip_obj_size", "recv_obj_size", "distractor_object", "object_friction", "object_mass"),
)
_MIXED = ("all_mixed", "rlbench_and_colosseum")  # everything that a task has
_NOTHING = ("no_variations", "rlbench_variations")
# Index name -> factor, where they are called differently.
_FACTOR_OF = {
    "distractor": "distractor_object",
    "friction": "object_friction",
    "mass": "object_mass",
}
BULLET_FRICTION = 0.5  # of published objects; new values are relative to it
LEAST_DISTANCE = 0.05  # metres between distractors of an area
_TRIES = 100


@dataclass(frozen=True)
class Entry:
    """A factor of a task: what it changes, and how.

    Attributes:
        factor: its name.
        targets: names of objects of the scene, or of an area of distractors.
        range: least and greatest factor of size, friction, or kilograms.
        same: one draw for all targets.
        count: number of distractors.
    """

    factor: str
    targets: tuple[str, ...]
    range: tuple[float, float] = (1.0, 1.0)
    same: bool = False
    count: int = 0


@dataclass(frozen=True)
class Area:
    """Where distractors may lie: middle and full size (2,) in the base frame, metres."""

    center: tuple[float, float]
    size: tuple[float, float]


class Strategy:
    """A task under an index of The Colosseum.

    Args:
        task: one of `COLOSSEUM_TASKS`.
        index: 0 to 17.

    Attributes:
        names: of the factors that are switched on.
        every_variation: whether all variations of the task occur, else only variation 0.

    Raises:
        ConfigError: the benchmark does not have the task under this index.
    """

    def __init__(self, task: str, index: int) -> None:
        if not has_index(task, index):
            raise ConfigError(
                f"{task}_{index}: The Colosseum has no {COLOSSEUM_INDICES[index]} for {task}; "
                "`sam2act demos --list` says which tasks and indices there are"
            )
        name = COLOSSEUM_INDICES[index]
        own, self._areas = _facts()[task]
        switched = _switched_on(name)
        self._scene = scene_facts(task)
        self._entries = [entry for entry in own if entry.factor in switched]
        self._global = [factor for factor in _EVERYWHERE if factor in switched]
        factors = [entry.factor for entry in self._entries] + self._global
        self.names = tuple(dict.fromkeys(factors))
        self.every_variation = index in EVERY_VARIATION

    def sample_build(self, random: np.random.Generator) -> Build:
        """Sizes and distractors of an episode."""
        scales: dict[str, float] = {}
        chosen: list[int] = []
        for entry in self._entries:
            if entry.factor.endswith("_size"):
                drawn = zip(entry.targets, _draws(entry, random), strict=True)
                scales |= {name: float(f) for name, f in drawn if not self._is_below(name, entry)}
            if entry.factor == "distractor_object":
                chosen += [int(n) for n in random.choice(distractors.YCB, entry.count)]
        return Build(distractors=tuple(chosen), scales=tuple(sorted(scales.items())))

    def _is_below(self, name: str, entry: Entry) -> bool:
        """Whether a target hangs on another one, with which it is scaled."""
        others = set(entry.targets) - {name}
        return any(name in self._scene.subtree(other) for other in others)

    def place(self, stage: Stage, build: Build, random: np.random.Generator) -> None:
        """Put distractors into their areas."""
        number = 0
        for entry in self._entries:
            if entry.factor == "distractor_object":
                names = [f"added{number + k}" for k in range(entry.count)]
                shapes = build.distractors[number : number + entry.count]
                self._place(stage.scene, names, shapes, self._areas[entry.targets[0]], random)
                number += entry.count

    def apply(self, stage: Stage, random: np.random.Generator) -> None:
        """Change the scene; every factor draws from a generator of its own."""
        factors = (*_OWN_OF_TASKS, *_EVERYWHERE)
        generators = dict(zip(factors, random.spawn(len(factors)), strict=True))
        for factor in self._global:
            effects.EVERYWHERE[factor](stage, generators[factor])
        for entry in self._entries:
            _change(stage, entry, generators[entry.factor])

    def _place(
        self,
        scene: Scene,
        names: Sequence[str],
        shapes: Sequence[int],
        area: Area,
        random: np.random.Generator,
    ) -> None:
        """Put distractors into an area; one that finds no place stays out of the scene."""
        base = scene.frames.pose(scene.frames.facts.root)
        yaw = float(np.arctan2(base[1, 0], base[0, 0]))
        taken: list[np.ndarray] = []
        colors = list(COLORS.values())
        for name, number in zip(names, shapes, strict=True):
            half = distractors.half_extents(number)
            scene.set_color(name, colors[int(random.integers(len(colors)))])
            for _ in range(_TRIES):
                room = np.array(area.size) / 2 - half[:2]
                local = np.array([*(area.center + random.uniform(-room, room)), 0.0])
                spot = (base[:3, :3] @ local + base[:3, 3])[:2]
                near = any(np.linalg.norm(spot - other) < LEAST_DISTANCE for other in taken)
                if not near and distractors.stands_free(scene, name, number, spot, yaw):
                    taken.append(spot)
                    break
            else:
                distractors.remove(scene, name)


def _change(stage: Stage, entry: Entry, random: np.random.Generator) -> None:
    """Colour, texture, friction or mass of the targets of `entry`."""
    model, scene = stage.scene.model, stage.scene
    if entry.factor.endswith("_color"):
        colors = list(COLORS.values())
        picks = random.integers(len(colors), size=len(entry.targets))
        for target, pick in zip(entry.targets, picks, strict=True):
            scene.set_color(target, colors[picks[0] if entry.same else pick])
    elif entry.factor.endswith("_tex"):
        for target in entry.targets:
            effects.set_texture(stage, scene.geoms(target), str(random.choice(OBJECT_TEXTURES)))
    elif entry.factor == "object_friction":
        for target, value in zip(entry.targets, _draws(entry, random), strict=True):
            model.geom_friction[scene.geoms(target)] *= value / BULLET_FRICTION
    elif entry.factor == "object_mass":
        for target, value in zip(entry.targets, _draws(entry, random), strict=True):
            body = model.body(target).id
            effects.scale_mass(model, [body], value / float(model.body_mass[body]))


def _draws(entry: Entry, random: np.random.Generator) -> np.ndarray:
    """A number in its range for each target of `entry`."""
    if entry.same:
        return np.full(len(entry.targets), random.uniform(*entry.range))
    return random.uniform(*entry.range, size=len(entry.targets))


def _switched_on(name: str) -> tuple[str, ...]:
    if name in _NOTHING:
        return ()
    if name in _MIXED:
        return (*_OWN_OF_TASKS, *_EVERYWHERE)
    return (_FACTOR_OF.get(name, name),)


_RANGES = ("scale_range", "friction_range", "mass_range")
_Facts = tuple[tuple[Entry, ...], Mapping[str, Area]]


def _facts() -> Mapping[str, _Facts]:
    """Factors and areas of every task."""
    text = resources.files(__package__).joinpath("colosseum.json").read_text(encoding="utf-8")
    return {task: _task_facts(entry) for task, entry in json.loads(text).items()}


def _task_facts(document: Mapping[str, Any]) -> _Facts:
    areas = {
        name: Area(tuple(area["center"][:2]), tuple(area["size"][:2]))
        for name, area in document["areas"].items()
    }
    return tuple(_entries(document["factors"])), areas


def _entries(factors: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
    for factor in factors:
        found = [tuple(factor[key]) for key in _RANGES if key in factor]
        same = any(factor.get(key, False) for key in ("scale_same", "color_same"))
        yield Entry(
            factor["factor"],
            tuple(factor["targets"]),
            found[0] if found else (1.0, 1.0),
            same,
            factor.get("num_objects", 0),
        )
