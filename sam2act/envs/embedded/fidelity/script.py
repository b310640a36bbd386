"""Compares the waypoints to which the scripts go with those of the published scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.fidelity.compiled import (
    ANGLE,
    DISTANCE,
    is_waypoint,
    pose_difference,
    pose_finding,
)
from sam2act.envs.embedded.fidelity.documents import Document, Entry
from sam2act.envs.embedded.fidelity.findings import Finding, compared
from sam2act.envs.embedded.fidelity.rules import Rules
from sam2act.envs.embedded.kit.facts import pose_matrix
from sam2act.envs.embedded.kit.frames import Frames
from sam2act.envs.embedded.kit.task import Waypoint

OPENING = 0.01  # of the travel of the fingers


@dataclass
class Visits:
    """How the script used the waypoints, by name: what differed, empty = nothing.

    Attributes:
        away: millimetres and degrees between the action and the mark.
        openings: fingers after the motion.
        collisions: whether collisions are ignored on the way.
        counts: by variation, number of actions.
        moved: marks that the published task moves.
        relative: (4, 4) of every mark in its parent at loading.
    """

    away: dict[str, list[str]] = field(default_factory=dict)
    openings: dict[str, list[float]] = field(default_factory=dict)
    collisions: dict[str, list[bool]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    relative: dict[str, np.ndarray] = field(default_factory=dict)


def compare_script(runner: EpisodeRunner, document: Document, rules: Rules) -> Iterator[Finding]:
    """Findings about every waypoint: its mark at loading, and what the script does there."""
    names = sorted(filter(is_waypoint, document.entries), key=lambda name: int(name[8:]))
    runner.restore()
    frames = runner.scene.frames
    base = np.linalg.inv(frames.pose(document.root))
    loaded = {name: base @ frames.pose(name) for name in names}
    visits = Visits(moved={f"waypoint{number}" for number in rules.moved})
    visits.relative = {name: _in_parent(frames, name) for name in names}
    for variation in range(min(rules.variations, runner.variation_count())):
        runner.begin_episode(variation, 0)
        _follow(runner, names, document, variation, visits)
    for name, pose in document.in_base().items():
        if is_waypoint(name):
            finding = pose_finding(f"{name}.pose", pose, loaded[name])
            away = visits.away.get(name, [])
            yield finding if not away else compared(f"{name}.pose", False, "mark", away[0])
            yield from _compare_marks(document.entries[name], visits)
    yield _compare_counts(rules, visits)


def _follow(
    runner: EpisodeRunner, names: Sequence[str], document: Document, variation: int, visits: Visits
) -> None:
    """Run through the script of a variation and find at which marks it stops, round by round."""
    frames, position, count, opening = runner.scene.frames, 0, 0, 1.0
    for waypoint in runner.task.waypoints(runner.scene):
        count += 1
        pose = pose_matrix(waypoint.pose.tolist())
        order = [*names[position:], *names[:position]]
        away = {name: pose_difference(frames.pose(name), pose) for name in order}
        fitting = [name for name, (far, turn) in away.items() if far <= DISTANCE and turn <= ANGLE]
        name = fitting[0] if fitting else order[0]
        if not fitting:
            far, turned = away[name]
            text = f"{1e3 * far:.0f} mm and {np.rad2deg(turned):.0f} degrees away in variation"
            visits.away.setdefault(name, []).append(f"{text} {variation}")
        elif drift := _drift(frames, name, visits):
            visits.away.setdefault(name, []).append(f"{drift} in variation {variation}")
        opening = _note(name, document.entries[name], waypoint, opening, visits)
        runner.robot.command_fingers(opening)  # scripts ask whether the hand is closed
        position = (names.index(name) + 1) % len(names)
    visits.counts[variation] = count


def _in_parent(frames: Frames, name: str) -> np.ndarray:
    """(4, 4) of an object in the frame of its parent."""
    parent = frames.facts.objects[name].parent
    assert parent is not None
    return np.asarray(np.linalg.inv(frames.pose(parent)) @ frames.pose(name))


def _drift(frames: Frames, name: str, visits: Visits) -> str:
    """How far the task has moved a mark, or one above it, that the published task leaves alone."""
    while name in visits.relative:
        far, turn = pose_difference(visits.relative[name], _in_parent(frames, name))
        if name not in visits.moved and (far > DISTANCE or turn > ANGLE):
            return f"moved by {1e3 * far:.0f} mm and {np.rad2deg(turn):.0f} degrees"
        name = str(frames.facts.objects[name].parent)
    return ""


def _note(name: str, entry: Entry, waypoint: Waypoint, opening: float, visits: Visits) -> float:
    """Remember what differs at a waypoint; how far the fingers are open afterwards."""
    published = published_opening(entry)
    wanted = opening if published is None else published
    after = waypoint.opening
    found = float(waypoint.gripper_open) if after is None else after
    if abs(found - wanted) > OPENING:
        visits.openings.setdefault(name, []).append(found)
    ignores = bool(entry.get("extension", {}).get("ignore_collisions", False))
    if waypoint.ignore_collisions != ignores:
        visits.collisions.setdefault(name, []).append(waypoint.ignore_collisions)
    return found


def published_opening(entry: Entry) -> float | None:
    """How far the fingers open at a waypoint, 0 to 1; None = they stay."""
    word, _, amount = entry.get("extension", {}).get("gripper", "").partition(" ")
    return {"open": 1.0, "close": float(amount or 0)}.get(word)


def _compare_marks(entry: Entry, visits: Visits) -> Iterator[Finding]:
    name, extension = entry["name"], entry.get("extension", {})
    openings, collisions = visits.openings.get(name, []), visits.collisions.get(name, [])
    gripper = extension.get("gripper", "stays")
    yield compared(f"{name}.gripper", not openings, gripper, openings[:1])
    ignores = extension.get("ignore_collisions", False)
    yield compared(f"{name}.ignore_collisions", not collisions, ignores, not ignores)


def _compare_counts(rules: Rules, visits: Visits) -> Finding:
    if rules.actions is None:
        return compared("waypoints", True, None, None)
    wrong = {v: n for v, n in visits.counts.items() if n != rules.actions(v)}
    variation, count = next(iter(wrong.items()), (0, 0))
    published = f"{rules.actions(variation)} in variation {variation}"
    return compared("waypoints", not wrong, published, count)
