"""What forbids comparing the figures of methods: other settings, other scenes, missing episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sam2act.core.actions import KEYFRAME_POSE
from sam2act.evaluation.analysis.aggregate import tasks_of
from sam2act.evaluation.analysis.methods import Evaluation, Method
from sam2act.evaluation.environment import SWITCHES
from sam2act.evaluation.results import NEVER_BEGUN, EpisodeRow

# What must agree for figures to compare; perturbations are compared in `perturbed.py`.
LENGTH = "episode_length"  # agrees among keyframes; among frames of the same tasks
COMPARED_SETTINGS = ("backend", LENGTH, *SWITCHES)

Scene = tuple[str, int, int | None]  # task, variation, seed


def differing_settings(methods: Iterable[Method]) -> dict[str, list[Any]]:
    """Settings that must agree for figures to compare, and do not: key -> its values."""
    evaluations = [e for method in methods for e in method.evaluations if e.description]
    joined = Method("", "", tuple(evaluations))
    values = {
        key: _differing_lengths(evaluations) if key == LENGTH else joined.values("settings", key)
        for key in COMPARED_SETTINGS
    }
    return {key: found for key, found in values.items() if len(found) > 1}


def _differing_lengths(evaluations: Sequence[Evaluation]) -> list[Any]:
    """The lengths of evaluations whose steps mean the same, where they differ."""
    alike: dict[Any, list[Evaluation]] = {}
    for evaluation in evaluations:
        settings = evaluation.section("settings")
        control = settings.get("control", KEYFRAME_POSE.mode)
        of_keyframes = control == KEYFRAME_POSE.mode
        tasks = () if of_keyframes else tuple(settings.get("tasks") or ())
        alike.setdefault((control, tasks), []).append(evaluation)
    lengths = (Method("", "", tuple(group)).values("settings", LENGTH) for group in alike.values())
    return next((found for found in lengths if len(found) > 1), [])


def unfinished(methods: Iterable[Method]) -> dict[str, tuple[int, int]]:
    """Methods whose evaluations lack episodes: label -> number of finished and of all."""
    found = {}
    for method in methods:
        finished, wanted = map(sum, zip(*(e.progress for e in method.evaluations), strict=True))
        if finished < wanted:
            found[method.label] = (finished, wanted)
    return found


def repeated_scenes(methods: Iterable[Method]) -> dict[str, int]:
    """Methods whose repetitions share scenes: label -> how often a checkpoint met the same one."""
    found = {}
    for method in methods:
        met = Counter(
            (e.run, str(e.section("checkpoint").get("sha256")), scene)
            for e in method.evaluations
            for scene in scenes_of(e.rows)
            if scene[2] is not None
        )
        if max(met.values(), default=0) > 1:
            found[method.label] = max(met.values())
    return found


def differing_scenes(methods: Iterable[Method]) -> dict[tuple[str, str], list[str]]:
    """Tasks on which a method had other scenes than the first one: both labels -> the tasks."""
    found: dict[tuple[str, str], list[str]] = {}
    rows_of = {method.label: method.rows for method in methods}
    for task in tasks_of(rows_of.values()):
        parts = {label: [r for r in rows if r.task == task] for label, rows in rows_of.items()}
        first, *others = [label for label, rows in parts.items() if rows]
        for other in others:
            if _scenes_differ(parts[first], parts[other]):
                found.setdefault((first, other), []).append(task)
    return found


def _scenes_differ(first: Sequence[EpisodeRow], second: Sequence[EpisodeRow]) -> bool:
    """Whether the scenes differ by more than those that one side could not begin."""
    met = [scenes_of(rows) for rows in (first, second)]
    lost = [sum(row.variation == NEVER_BEGUN for row in rows) for rows in (first, second)]
    return len(met[0] - met[1]) > lost[1] or len(met[1] - met[0]) > lost[0]


def scenes_of(rows: Iterable[EpisodeRow]) -> set[Scene]:
    """The scenes in which episodes began; the seed is None where only a demo tells them apart."""
    return {(r.task, r.variation, r.seed) for r in rows if r.variation != NEVER_BEGUN}
