"""Compares many resets of a scene with the published rules: meaning, script, random places."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.fidelity.compiled import ANGLE, DISTANCE, CompiledScene
from sam2act.envs.embedded.fidelity.documents import Document
from sam2act.envs.embedded.fidelity.findings import Finding, compared
from sam2act.envs.embedded.fidelity.rules import Rules, Spawned
from sam2act.envs.embedded.kit.frames import Frames
from sam2act.envs.embedded.kit.placing import place_base
from sam2act.envs.embedded.kit.published import PublishedTask

ENOUGH = 100  # resets, from which on the spread of random places is judged
DRAWN = 1000  # places of the base that are drawn for it
COVERED = 0.8  # of the published range of the base that random places have to reach
SPREAD = 0.6  # of a boundary plane, less the thing's own size, that places have to reach
YAW_MARGIN = 0.01  # radians; published ranges are rounded
# What a thing may turn and move while it settles: radians, metres.
SETTLED, TOPPLED = np.deg2rad(3.0), 0.01


@dataclass(frozen=True)
class Place:
    """Where a thing was put: plane, place (2,) in its frame, turn, what sticks out, room there."""

    plane: str
    spot: np.ndarray
    yaw: float
    outside: float
    room: np.ndarray


@dataclass
class Draws:
    """What was drawn in the resets.

    Attributes:
        bases: (4, 4) of the base, one per reset.
        spawned: by object, one per reset: plane, its place (2,) there, turn, whether it is inside.
        distances: least distance of origins within a plane, one per reset, metres.
        wrong_words: variations whose first wording differs: what is said.
        wrong_scenes: variations whose scene shows something else.
        wordings: number of instructions.
    """

    bases: list[np.ndarray] = field(default_factory=list)
    spawned: dict[str, list[Place]] = field(default_factory=dict)
    distances: list[float] = field(default_factory=list)
    wrong_words: dict[int, str] = field(default_factory=dict)
    wrong_scenes: list[int] = field(default_factory=list)
    wordings: set[int] = field(default_factory=set)


def draw(runner: EpisodeRunner, rules: Rules, resets: int) -> Draws:
    """Reset `resets` times, variation by variation, with rising seeds."""
    draws = Draws()
    turns = _loaded_turns(runner, rules.spawned)
    count = min(runner.variation_count(), rules.variations)
    for number in range(resets):
        variation = number % count
        runner.begin_episode(variation, number)
        draws.wordings.add(len(runner.instructions))
        if runner.instructions[0] != rules.first(variation):
            draws.wrong_words[variation] = runner.instructions[0]
        if not is_published(runner):
            continue
        if not rules.means(runner.scene, variation):
            draws.wrong_scenes.append(variation)
        frames = runner.scene.frames
        draws.bases.append(frames.pose(frames.facts.root))
        if rules.spawned is not None:
            _add_places(runner, rules.spawned, turns, draws)
    return draws


def is_published(runner: EpisodeRunner) -> bool:
    """Whether the scene is built from facts."""
    return isinstance(runner.task, PublishedTask)


def compare_meaning(runner: EpisodeRunner, rules: Rules, draws: Draws) -> Iterator[Finding]:
    """Variations and wordings."""
    found = runner.variation_count()
    yield compared("variations", found == rules.variations, rules.variations, found)
    wrong = sorted({*draws.wrong_scenes})
    yield compared("index", not wrong, "as the number says", f"not in variations {wrong[:5]}")
    variation, words = next(iter(draws.wrong_words.items()), (0, ""))
    yield compared("instruction", not words, repr(rules.first(variation)), repr(words))
    yield compared(
        "wordings", draws.wordings == {rules.wordings}, rules.wordings, sorted(draws.wordings)
    )


# ---------------------------------------------------------------------------------- base
def compare_base(runner: EpisodeRunner, document: Document, draws: Draws) -> Iterator[Finding]:
    """Where the base comes to stand in the resets; how much of the range is drawn at all."""
    spots = np.array([pose[:2, 3] for pose in draws.bases])
    yaws = np.array([np.arctan2(pose[1, 0], pose[0, 0]) for pose in draws.bases])
    if document.is_static:
        place = np.array(document.sampling["base_world"][:2])
        stays = bool(np.abs(spots - place).max() < DISTANCE)
        yield compared("base.position", stays, "static", "moves")
        yield compared("base.yaw", bool(np.abs(yaws).max() < ANGLE), "static", "turns")
        return
    yield _compare_base_box(runner, document)
    ranges = np.array([document.sampling["x_range"], document.sampling["y_range"]])
    intervals = document.sampling["accepted_yaw"]
    drawn = _drawn_bases(runner, draws)
    low, high = spots.min(axis=0), spots.max(axis=0)
    inside = (low >= ranges[:, 0] - DISTANCE).all() and (high <= ranges[:, 1] + DISTANCE).all()
    found = [[float(round(a, 3)), float(round(b, 3))] for a, b in zip(low, high, strict=True)]
    wide = not drawn or _spans(drawn, ranges)
    yield compared("base.position", bool(inside and wide), ranges.tolist(), found)
    outside = [round(float(yaw), 3) for yaw in yaws if not _within(float(yaw), intervals)]
    covered = _covered([np.arctan2(pose[1, 0], pose[0, 0]) for pose in drawn], intervals)
    wide = not drawn or covered >= COVERED
    detail = f"{outside[:3]} outside" if outside else f"{covered:.0%} of it drawn"
    yield compared("base.yaw", not outside and wide, intervals, detail)


def _spans(drawn: list[np.ndarray], ranges: np.ndarray) -> bool:
    """Whether drawn places reach over most of the ranges (2, 2) of x and y."""
    span = np.ptp([pose[:2, 3] for pose in drawn], axis=0) / np.ptp(ranges, axis=1)
    return bool((span >= COVERED).all())


def _compare_base_box(runner: EpisodeRunner, document: Document) -> Finding:
    """The box around everything at loading, in the base frame."""
    runner.restore()
    frames = runner.scene.frames
    found = frames.box(document.root, frames.pose(document.root))
    wanted = np.array(document.sampling["model_box_in_base"])
    near = np.abs(found - wanted).max() <= DISTANCE
    return compared("base.box", bool(near), wanted.tolist(), np.round(found, 4).tolist())


def _drawn_bases(runner: EpisodeRunner, draws: Draws) -> list[np.ndarray]:
    """Places as drawn before it is asked what the arm reaches; none if there are few resets."""
    runner.restore()
    frames, random = runner.scene.frames, np.random.default_rng(0)
    found: list[np.ndarray] = []
    while len(draws.bases) >= ENOUGH and len(found) < DRAWN:
        with contextlib.suppress(BoundaryError):
            place_base(frames, random)
            found.append(frames.pose(frames.facts.root))
    return found


def _within(yaw: float, intervals: list[list[float]]) -> bool:
    return any(low - YAW_MARGIN <= yaw <= high + YAW_MARGIN for low, high in intervals)


def _covered(yaws: list[float], intervals: list[list[float]]) -> float:
    """Share of the intervals that lies between the least and the greatest drawn yaw in each."""
    spans = []
    for low, high in intervals:
        inside = [yaw for yaw in yaws if low - YAW_MARGIN <= yaw <= high + YAW_MARGIN]
        spans.append(max(inside) - min(inside) if inside else 0.0)
    return sum(spans) / sum(high - low for low, high in intervals)


# ------------------------------------------------------------------------------- spawned
def _loaded_turns(runner: EpisodeRunner, spawned: Spawned | None) -> dict[str, np.ndarray]:
    """(3, 3) of every spawned thing in its plane at loading."""
    if spawned is None or not is_published(runner):
        return {}
    runner.restore()
    frames = runner.scene.frames
    plane = frames.pose(spawned.planes[0])[:3, :3]
    return {name: plane.T @ frames.pose(name)[:3, :3] for name in spawned.objects}


def _add_places(
    runner: EpisodeRunner, spawned: Spawned, turns: dict[str, np.ndarray], draws: Draws
) -> None:
    frames, scene = runner.scene.frames, CompiledScene(runner)
    places = {name: _place(scene, frames, name, spawned, turns[name]) for name in spawned.objects}
    for name, place in places.items():
        draws.spawned.setdefault(name, []).append(place)
    pairs = [
        np.linalg.norm(frames.pose(first)[:3, 3] - frames.pose(second)[:3, 3])
        for first, second in itertools.combinations(places, 2)
        if places[first].plane == places[second].plane
    ]
    if pairs:
        draws.distances.append(float(min(pairs)))


def _place(
    scene: CompiledScene, frames: Frames, name: str, spawned: Spawned, turn: np.ndarray
) -> Place:
    """Where a thing lies: in the plane out of which it sticks least.

    Quirk: as published, a thing is turned by a yaw, but it is asked whether it fits when turned by
    minus that yaw; so is here what sticks out.
    """
    points = _corners(scene, frames, name)
    candidates = []
    for plane in spawned.planes:
        inverse = np.linalg.inv(frames.pose(plane))
        half = np.array(frames.facts.shape(plane).size[:2]) / 2
        local = inverse @ frames.pose(name)
        moved = Rotation.from_matrix(turn.T @ local[:3, :3]).as_rotvec()
        yaw = float(np.linalg.norm(moved) * np.sign(moved @ turn.T[:, 2]))
        mirror = Rotation.from_euler("z", -2 * yaw).as_matrix()
        offsets = (points @ inverse[:3, :3].T + inverse[:3, 3] - local[:3, 3]) @ mirror.T
        reach = (offsets + local[:3, 3])[:, :2]
        outside = float(max((np.abs(reach) - half).max(), 0.0))
        room = 2 * half - np.ptp(reach, axis=0)
        candidates.append(Place(plane, local[:2, 3], yaw, outside, room))
    return min(candidates, key=lambda place: place.outside)


def _corners(scene: CompiledScene, frames: Frames, name: str) -> np.ndarray:
    """(N, 3) corners of the box around a thing itself, what is below it left out, world frame."""
    pose = scene.pose(name)
    if scene.geoms(name):
        corners = np.array(list(itertools.product(*scene.box(name).T)))
    else:
        size = np.array(frames.facts.shape(name).size)
        corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * size
    return np.asarray(corners @ pose[:3, :3].T + pose[:3, 3])


def compare_spawned(spawned: Spawned, draws: Draws) -> Finding:
    """Inside their planes, apart, turned within the bounds, and spread over them."""
    complaints = []
    for name, places in draws.spawned.items():
        out = max(place.outside for place in places)
        if out > TOPPLED:
            complaints.append(f"{name} sticks {1e3 * out:.0f} mm out")
        complaints += _turn_complaints(name, places, spawned)
        if len(places) >= ENOUGH:
            complaints += _spread_complaints(name, places)
    nearest = min(draws.distances, default=np.inf)
    if nearest < spawned.distance - DISTANCE:
        complaints.append(f"only {nearest:.3f} m apart")
    return compared("spawned", not complaints, "at random", "; ".join(complaints))


def _turn_complaints(name: str, places: list[Place], spawned: Spawned) -> list[str]:
    yaws = np.array([place.yaw for place in places])
    low, high = spawned.yaw
    if high - low > 6:
        wide = len(places) < ENOUGH or np.ptp(yaws) > COVERED * (high - low)
        return [] if wide else [f"{name} turns by {np.ptp(yaws):.2f} rad only"]
    inside = (yaws >= low - SETTLED).all() and (yaws <= high + SETTLED).all()
    wide = len(places) < ENOUGH or np.ptp(yaws) >= SPREAD * (high - low)
    return [] if inside and wide else [f"{name} turns {yaws.min():.2f} to {yaws.max():.2f} rad"]


def _spread_complaints(name: str, places: list[Place]) -> list[str]:
    complaints = []
    for plane in {place.plane for place in places}:
        inside = [place for place in places if place.plane == plane]
        if len(inside) < ENOUGH / 2:
            continue
        room = np.max([place.room for place in inside], axis=0)
        span = np.ptp([place.spot for place in inside], axis=0)
        if (span < SPREAD * room - DISTANCE).any():
            complaints.append(
                f"{name} uses {np.round(span, 3)} of {np.round(room, 3)} m of {plane}"
            )
    return complaints
