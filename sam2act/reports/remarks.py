"""The part of the report about where its figures come from, and what forbids comparing them."""

from __future__ import annotations

from collections.abc import Sequence

from sam2act.evaluation.analysis.aggregate import tasks_of
from sam2act.evaluation.analysis.comparison import (
    differing_scenes,
    differing_settings,
    repeated_scenes,
    unfinished,
)
from sam2act.evaluation.analysis.methods import Method

SIMULATORS = {"embedded": "the embedded simulator", "rlbench": "RLBench", "pusht": "gym-pusht"}
UNKNOWN_SIMULATOR = "an unknown simulator"


def simulators(methods: Sequence[Method]) -> list[str]:
    """In which simulators the episodes ran, in words."""
    found = [
        evaluation.section("settings").get("backend")
        for method in methods
        for evaluation in method.evaluations
    ]
    names = [SIMULATORS.get(b, str(b)) if b is not None else UNKNOWN_SIMULATOR for b in found]
    return list(dict.fromkeys(names))


def remarks(methods: Sequence[Method]) -> list[str]:
    """Where the episodes ran, and what that means."""
    texts, places = [], simulators(methods)
    if SIMULATORS["embedded"] in places:
        texts.append(
            "Simulator: the embedded simulator. Its scenes are made in the likeness of the "
            "published ones, its physics is another engine's: these figures are not those of "
            "published tables."
        )
    if SIMULATORS["rlbench"] in places:
        texts.append("Simulator: RLBench with CoppeliaSim.")
    texts += [
        f"Simulator: {place}, a plug-in."
        for place in places
        if place not in (*SIMULATORS.values(), UNKNOWN_SIMULATOR)
    ]
    if UNKNOWN_SIMULATOR in places:
        texts.append(
            "An evaluation has no evaluation.json, so simulator, chance and checkpoint are "
            "unknown; python -m sam2act.eval writes it."
        )
    return texts


def warnings(methods: Sequence[Method]) -> list[str]:
    """Reasons for which figures of the page mislead or do not compare with each other."""
    texts = [
        f"Beware: {label} has finished {finished} of {wanted} episodes. Those that end early come "
        "first and count too much; the same command with --resume runs the others."
        for label, (finished, wanted) in unfinished(methods).items()
    ]
    for label, times in repeated_scenes(methods).items():
        texts.append(
            f"Beware: for {label} the same scenes were evaluated {times} times; a deterministic "
            "simulator gives equal results, count them once."
        )
    for key, values in differing_settings(methods).items():
        found = " and ".join(str(value) for value in values)
        texts.append(f"Beware: evaluations with different {key} stand side by side ({found}).")
    for (first, other), tasks in differing_scenes(methods).items():
        texts.append(
            f"Beware: {first} and {other} were evaluated on different scenes ({', '.join(tasks)})."
        )
    if len({frozenset(tasks_of(method.runs)) for method in methods}) > 1:
        texts.append(
            "Beware: not every method was evaluated on every task; means over tasks are shown for "
            "those that were."
        )
    return texts
