"""All findings about a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.fidelity.compiled import compare_compiled
from sam2act.envs.embedded.fidelity.documents import Document
from sam2act.envs.embedded.fidelity.episodes import (
    compare_base,
    compare_meaning,
    compare_spawned,
    draw,
    is_published,
)
from sam2act.envs.embedded.fidelity.findings import Finding, TaskFindings, compared, unknown
from sam2act.envs.embedded.fidelity.probes import probe
from sam2act.envs.embedded.fidelity.rules import RULES, Rules
from sam2act.envs.embedded.fidelity.script import compare_script


def measure(task: str, documents: Mapping[str, Document], resets: int) -> TaskFindings:
    """Compare the task as it is built and reset with the facts of its scene.

    Args:
        task: name of a task of the embedded simulator.
        documents: decoded scenes by task.
        resets: how often the scene is drawn.
    """
    runner = EpisodeRunner(EnvConfig(task, cameras=()))
    document, rules = documents.get(task), RULES[task]
    reasons: Mapping[str, str] = getattr(type(runner.task), "deviations", {})
    findings = tuple(_findings(runner, document, rules, resets))
    return TaskFindings(task, findings, reasons, document is not None)


def _findings(
    runner: EpisodeRunner, document: Document | None, rules: Rules, resets: int
) -> Iterator[Finding]:
    draws = draw(runner, rules, resets)
    yield from compare_meaning(runner, rules, draws)
    if document is None:
        yield unknown("scene")
        return
    if not is_published(runner):
        yield compared("scene", False, "known", "not built from it")
        return
    yield from compare_compiled(runner, document)
    yield from compare_script(runner, document, rules)
    yield from compare_base(runner, document, draws)
    if rules.spawned is not None:
        yield compare_spawned(rules.spawned, draws)
    yield from probe(runner)
