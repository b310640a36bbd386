"""Imagined and real frames on the page, from the files that lie in run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sam2act.cli import report
from sam2act.evaluation.results import ResultsError
from sam2act.reports.imagined import read_imagined
from tests.evaluation.evaluated_runs import episode, write_rows

ERRORS = {
    "imagined": [0.02, 0.03],
    "with_actions": [0.01, 0.02],
    "decoded": [0.001, 0.001],
    "copied": [0.02, 0.04],
}


def imagined_in(run: Path, errors: Any = ERRORS) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    content = {"windows": 7, "squared_error": errors}
    (run / "imagined.json").write_text(json.dumps(content))
    Image.new("RGB", (4, 2), "red").save(run / "imagined.png")
    return run


def test_errors_stand_beside_those_of_a_copy(tmp_path: Path) -> None:
    with_files, without = imagined_in(tmp_path / "uva"), tmp_path / "other"
    (one,) = read_imagined([with_files, without])
    assert one.name == "uva" and one.windows == 7
    header, rows = one.table()
    assert header[1:3] == ["step 1", "step 2"]
    shares = {row[0]: row[-1] for row in rows}
    assert list(shares.values()) == ["0.83", "0.50", "1.00", "0.03"]
    assert rows[1][0].endswith("(forward dynamics)") and rows[1][1] == "0.01000"


def test_the_page_shows_frames_beside_films(tmp_path: Path) -> None:
    run = imagined_in(tmp_path / "uva")
    results = run / "eval" / "test" / "model_last"
    write_rows(results, [episode("pusht", 0, 0, reward=31.0, video="0.gif")])
    (results / "0.gif").write_bytes(b"GIF89a")
    assert report.main([str(run), "--output", f"{tmp_path}/page.html"]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "<h2>Imagined and real frames</h2>" in text and "forward dynamics" in text
    films = text[text.index("<h2>Films</h2>") :]
    assert films.index("image/png") < films.index("image/gif") < films.index("</div>")


@pytest.mark.parametrize(
    "errors", [{"imagined": [1.0]}, {"copied": [1.0], "imagined": [1.0, 2.0]}, ["copied"]]
)
def test_files_of_another_form_are_refused(tmp_path: Path, errors: Any) -> None:
    with pytest.raises(ResultsError, match=r"imagined\.json: is not what sam2act imagine writes"):
        read_imagined([imagined_in(tmp_path / "uva", errors)])
