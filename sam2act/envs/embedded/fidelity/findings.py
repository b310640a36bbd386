"""Facts by id, and what was found when the compiled scene was compared with them.

A fact id is `<object>.<what>`, with `what` of

    pose                of any object, at loading, in the base frame: position within 2 mm,
                        direction within 1 degree; of a waypoint also that the script goes there
    size                of a shape that is seen or solid: the box around its geoms within 2 mm
    mass                of a body that moves, within 1 %
    color, opacity      of what is seen
    seen, solid         whether cameras see it, whether things bounce off it
    limits, position, spring                of a joint
    volume              of a sensor: kind, size and place within 2 mm
    gripper, ignore_collisions              of a waypoint: what the script does there
    friction, texture, surface              never compared (another engine, not decoded)

or one of

    variations          their number
    index               what a variation's number means
    instruction         the first wording of every variation
    wordings            their number; sentences other than the first are our own
    waypoints           number of waypoints of the script
    base.box            the box around the whole model, within 2 mm
    base.yaw            turn of the base: in the published ranges, and over most of them
    base.position       the same for its place
    spawned             what is put at random: inside its boundary, apart, turned as published
    probe.NAME          how the scene behaves in an experiment of `probes.py`
    init, success       what is set at the start, and when the task is solved: stated, not compared

A class states in `deviations` why a fact differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MATCHED, DEVIATES, UNKNOWN = "matched", "deviates", "unknown"
NOT_COMPARED = ("init", "success")
RANDOM = ("base.yaw", "base.position", "spawned")  # draws need not show how they deviate

# Reasons that hold for every task, by the last part of the id.
COMMON_REASONS = {
    "opacity": "The ray caster shows the nearest surface and looks through nothing.",
}


@dataclass(frozen=True)
class Finding:
    """One fact of a scene and how the embedded one stands to it.

    Attributes:
        fact: its id.
        state: matched, deviates or unknown.
        detail: published and embedded value where they differ, else empty.
    """

    fact: str
    state: str
    detail: str = ""


def compared(fact: str, matches: bool, published: object, embedded: object) -> Finding:
    """A finding about a fact that was compared."""
    if matches:
        return Finding(fact, MATCHED)
    return Finding(fact, DEVIATES, f"{_plain(published)} published, {_plain(embedded)} here")


def unknown(fact: str) -> Finding:
    """A finding about a fact that cannot be compared."""
    return Finding(fact, UNKNOWN)


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "(" + ", ".join(map(_plain, value)) + ")"
    return str(value)


@dataclass(frozen=True)
class TaskFindings:
    """All findings about one task.

    Attributes:
        task: its name.
        findings: one per fact.
        reasons: fact -> why it deviates, as the class states it.
        known: whether there are facts of its scene.
    """

    task: str
    findings: tuple[Finding, ...]
    reasons: Mapping[str, str]
    known: bool = True

    def of_state(self, state: str) -> list[Finding]:
        """The findings of one state; a stated deviation of what is not compared is one, too."""
        return [item for item in self.all_findings() if item.state == state]

    def all_findings(self) -> list[Finding]:
        """The findings and what the class states about facts that ranges or nothing can show."""
        stated = [Finding(fact, DEVIATES) for fact in NOT_COMPARED if fact in self.reasons]
        return [*(self._as_stated(item) for item in self.findings), *stated]

    def _as_stated(self, item: Finding) -> Finding:
        """A random fact deviates where the class says so, though all draws fit."""
        if item.fact in RANDOM and item.fact in self.reasons and item.state == MATCHED:
            return Finding(item.fact, DEVIATES, "every draw fits")
        return item

    def state(self, fact: str) -> str:
        """How a fact stands; unknown if there is none of that id."""
        states = {item.fact: item.state for item in self.all_findings()}
        return states.get(fact, UNKNOWN)

    def reason(self, fact: str) -> str | None:
        """Why `fact` deviates; None = nobody says so."""
        return self.reasons.get(fact) or COMMON_REASONS.get(fact.rpartition(".")[2])

    def share(self) -> float:
        """Matched facts among those that were compared, or stated to differ."""
        matched, deviating = len(self.of_state(MATCHED)), len(self.of_state(DEVIATES))
        return matched / max(1, matched + deviating)

    def faults(self) -> list[str]:
        """Deviations without a reason, and reasons without a deviation."""
        deviating = {item.fact: item for item in self.of_state(DEVIATES)}
        silent = [
            f"{self.task}: {fact} deviates without a reason ({item.detail})"
            for fact, item in deviating.items()
            if self.reason(fact) is None
        ]
        idle = [
            f"{self.task}: there is a reason for {fact}, which does not deviate"
            for fact in self.reasons
            if fact not in deviating
        ]
        return silent + idle
