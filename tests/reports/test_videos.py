"""The films of a report: what is left out of a page is named in few words."""

from __future__ import annotations

from pathlib import Path

from sam2act.evaluation.analysis.methods import Source, collect_methods
from sam2act.reports import videos
from sam2act.reports.page import Page
from tests.evaluation.evaluated_runs import episode, write_rows


def test_films_left_out_are_not_listed_endlessly(tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "none" / "model_last"
    rows = [episode(f"task{n}", 0, 1, video=f"{n}.gif") for n in range(9)]
    write_rows(folder, rows)
    for number in range(9):
        (folder / f"{number}.gif").write_bytes(bytes(300))
    page = Page("t")
    videos.add_videos(page, collect_methods([Source(tmp_path)]), 1000)  # 400 bytes each as text
    assert sum(part.startswith("<figure>") for part in page.parts) == 2
    assert page.parts[-1].count(".gif") == videos.NAMED and "and 3 more" in page.parts[-1]
