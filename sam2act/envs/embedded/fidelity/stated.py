"""The deviations that the classes of tasks state, as a table of a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sam2act.core.errors import UserError
from sam2act.core.files import replacing
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.tasks import task_class, task_names

BEGIN, END = "<!-- deviations: begin -->", "<!-- deviations: end -->"


def stated_deviations(task: str) -> Mapping[str, str]:
    """Fact -> reason of a task; empty where nothing deviates or the scene is not known."""
    described = task_class(task)
    return described.deviations if issubclass(described, PublishedTask) else {}


def deviations_table() -> str:
    """One row per task and reason, with the facts that it is about, in markdown."""
    rows = ["| task | fact | reason |", "|---|---|---|"]
    for task in task_names():
        facts_of: dict[str, list[str]] = {}
        for fact, reason in stated_deviations(task).items():
            facts_of.setdefault(reason, []).append(f"`{fact}`")
        rows += [f"| `{task}` | {', '.join(f)} | {reason} |" for reason, f in facts_of.items()]
    return "\n".join(rows)


def with_table(text: str) -> str:
    """The page `text` with the present table between its marks.

    Raises:
        ValueError: the marks are absent.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no lines {BEGIN} and {END} around the table")
    return f"{before}{BEGIN}\n\n{deviations_table()}\n\n{END}{after}"


def write_table(page: Path) -> None:
    """Put the present table into a page.

    Raises:
        UserError: it cannot be read, or has no place for the table.
    """
    try:
        text = with_table(page.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--deviations: {page}: {error}") from error
    with replacing(page) as path:
        path.write_text(text, encoding="utf-8")
