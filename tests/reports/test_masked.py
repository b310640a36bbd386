"""Sheets of masks, and films of several agents side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2act.evaluation.analysis.methods import Source, collect_methods
from sam2act.reports.masked import COLUMNS, SIDE, Look, add_films, mask_sheet
from sam2act.reports.page import Page
from tests.evaluation.evaluated_runs import episode, write_description, write_rows

TASK = "put_block_back"


def look(overlapping: int) -> Look:
    """Four columns are kept of an object of two columns, or of none."""
    rgb = np.full((8, 8, 3), 200, np.uint8)
    mask, truth = np.zeros((2, 8, 8), bool)
    mask[:, :4] = True
    truth[:, 4 - overlapping : 6 - overlapping] = True
    return Look("table_color", rgb, np.array([[1.0, 1.0, 1.0], [6.0, 6.0, 0.0]]), mask, truth)


def test_the_overlap_is_that_of_mask_and_truth() -> None:
    assert look(0).overlap == 0 and look(2).overlap == pytest.approx(0.5)
    assert look(1).overlap == pytest.approx(1 / 5)


def test_a_sheet_shows_four_pictures_per_row() -> None:
    sheet = np.asarray(mask_sheet([look(0), look(2)]))
    rows = sheet[-2 * (SIDE + 4) :][:SIDE], sheet[-(SIDE + 4) :][:SIDE]
    for row in rows:
        columns = [row[:, -n * (SIDE + 4) :][:, :SIDE] for n in range(len(COLUMNS), 0, -1)]
        plain, marked, mask, masked = columns
        assert (plain == 200).all()
        changed = (marked != 200).any(-1)
        assert changed[: SIDE // 2, : SIDE // 2].any() and changed[SIDE // 2 :, SIDE // 2 :].any()
        assert (mask[:, : SIDE // 2] == 255).all() and (mask[:, SIDE // 2 :] == 0).all()
        assert (masked == np.where(mask > 0, 200, 0)).all()


def write_films(run: Path, factors: list[str], filmed: tuple[int, ...]) -> Source:
    for factor in ("", *factors):
        folder = run / "eval" / (factor or "none") / "model_last"
        write_description(folder, settings={"perturb": [factor] if factor else []})
        rows = [episode(TASK, n, 1, video=f"{n}.webp" if n in filmed else "") for n in range(3)]
        write_rows(folder, rows)
        for number in filmed:
            (folder / f"{number}.webp").write_bytes(b"film" * 10)
    return Source(run, run.name)


def test_films_of_the_same_scene_stand_side_by_side(tmp_path: Path) -> None:
    sources = [
        write_films(tmp_path / "plain", ["all"], (0, 1)),
        write_films(tmp_path / "masked", ["all"], (0,)),
    ]
    methods = collect_methods(sources)
    page = Page("films")
    add_films(page, methods, TASK, limit=10_000)
    text = "\n".join(page.parts)
    assert text.count('<div class="row">') == 2 and text.count("<img") == 4
    assert text.index("unperturbed, episode 0") < text.index("all, episode 0")
    row = text[text.index("all, episode 0") :]
    assert row.index("plain") < row.index("masked")
    assert "Left out: 2 scenes" in text and "episode 1<" not in text
    small = Page("films")
    add_films(small, methods, TASK, limit=150)
    assert "\n".join(small.parts).count("<img") == 2
