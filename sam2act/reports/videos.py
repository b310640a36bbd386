"""The part of the report that shows films of a success and a failure per method and task."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2act.core.wording import listing
from sam2act.evaluation.analysis.aggregate import tasks_of
from sam2act.evaluation.analysis.methods import Evaluation, Method, evaluation_command
from sam2act.evaluation.results import EpisodeRow
from sam2act.reports.imagined import Imagined, show_imagined
from sam2act.reports.page import Page

MEDIA_TYPES = {".mp4": "video/mp4", ".gif": "image/gif", ".webp": "image/webp"}
MEGABYTE = 1_000_000
NAMED = 4  # films left out that are listed


@dataclass(frozen=True)
class Film:
    """A film of one episode."""

    method: Method
    row: EpisodeRow
    path: Path


def add_videos(
    page: Page, methods: Sequence[Method], limit: int, imagined: Sequence[Imagined] = ()
) -> None:
    """A success and a failure of each method on each task, as long as they fit.

    Args:
        page: the page.
        methods: what was evaluated.
        limit: bytes that all embedded films may take.
        imagined: shown beside the films.
    """
    page.heading("Films")
    films = list(choose_films(methods))
    if not films:
        command = evaluation_command(methods[0].evaluations[0].run, "--save-video")
        page.text(f"No episode was filmed; with --save-video it is: {command}")
    if not films and not imagined:
        return
    left_out, used = [], 0
    with page.columns():
        show_imagined(page, imagined)
        for film in films:
            size = film.path.stat().st_size * 4 // 3  # as base64
            if used + size > limit:
                left_out.append(f"{film.path} ({size / MEGABYTE:.1f} MB)")
                continue
            used += size
            show(page, film)
    if left_out:
        page.text(
            f"Left out, to keep the films of this page below {limit / MEGABYTE:g} MB "
            f"(--video-megabytes): {listing(left_out, NAMED)}."
        )


def choose_films(methods: Sequence[Method]) -> Iterator[Film]:
    """The first filmed success and failure of every method and task, by task.

    A film must lie below the folder of its evaluation: a table from elsewhere must not pull other
    files into the page.
    """
    for task in tasks_of(method.rows for method in methods):
        for method in methods:
            for wanted in (True, False):
                film = next(_films(method, task, wanted), None)
                if film is not None:
                    yield film


def _films(method: Method, task: str, success: bool) -> Iterator[Film]:
    return (film for film in films_of(method, task) if bool(film.row.success) == success)


def films_of(method: Method, task: str) -> Iterator[Film]:
    """All films of a method on a task, in the order of its evaluations."""
    for evaluation in method.evaluations:
        for row in evaluation.rows:
            if row.task == task and row.video:
                path = _film_path(evaluation, row)
                if path is not None:
                    yield Film(method, row, path)


def _film_path(evaluation: Evaluation, row: EpisodeRow) -> Path | None:
    folder = evaluation.folder.resolve()
    path = (folder / row.video).resolve()
    known = path.suffix.lower() in MEDIA_TYPES
    return path if known and path.is_relative_to(folder) and path.is_file() else None


def show(page: Page, film: Film) -> None:
    """Embed one film."""
    row, kind = film.row, MEDIA_TYPES[film.path.suffix.lower()]
    uri = f"data:{kind};base64,{base64.b64encode(film.path.read_bytes()).decode()}"
    end = "success" if row.success else f"failure ({row.failure or 'no cause recorded'})"
    caption = f"{film.method.label}, {row.task}, episode {row.episode}, variation {row.variation}: "
    caption += f"{end} after {row.steps} steps. “{row.instruction}”"
    if kind.startswith("video"):
        page.video(uri, caption)
    else:
        page.picture(uri, caption, f"film of {row.task}, episode {row.episode}")
