"""Mean scores of graded rewards: their intervals, and the known figures beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2act.cli import report
from sam2act.evaluation.analysis.aggregate import bootstrap_interval, mean_score
from sam2act.evaluation.analysis.methods import Source, collect_methods
from sam2act.reports.page import Page
from sam2act.reports.scores import add_scores, score_table
from tests.evaluation.evaluated_runs import episode, write_rows


def test_interval_of_a_mean_is_as_wide_as_the_central_limit_says() -> None:
    values = np.random.default_rng(1).uniform(size=400)
    low, high = bootstrap_interval(list(values), 2000)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.004)
    assert high == pytest.approx(values.mean() + half, abs=0.004)
    assert bootstrap_interval([0.5] * 4, 10) == (0.5, 0.5)


def test_a_score_counts_the_episodes_of_its_task() -> None:
    rows = [episode("pusht", n, 0, reward=reward) for n, reward in enumerate((0.0, 30.0, 90.0))]
    rows.append(episode("other", 0, 1))
    score = mean_score(rows, "pusht")
    assert score is not None and score.mean == pytest.approx(0.4) and score.episodes == 3
    assert 0 <= score.interval[0] < score.mean < score.interval[1] <= 0.9
    assert mean_score(rows, "absent") is None


def run_with(folder: Path, rewards: tuple[float, ...], task: str = "pusht") -> Path:
    rows = [episode(task, n, int(r == 100), reward=r) for n, r in enumerate(rewards)]
    write_rows(folder / "eval" / "test" / "model_last", rows)
    return folder


def test_known_figures_stand_beside_the_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path / "run", (20.0, 40.0, 100.0))
    header, rows = score_table(collect_methods([Source(run, "mine")]))
    assert header[2] == "score" and rows[0][:3] == ["pusht", "mine", "0.533"]
    assert [row[2] for row in rows[1:]] == ["0.140", "0.145", "0.690", "0.945"]
    assert report.main([str(run), "--output", f"{tmp_path}/page.html"]) == 0
    assert "random actions" in capsys.readouterr().out
    text = (tmp_path / "page.html").read_text()
    assert "<h2>Scores</h2>" in text and "0.533" in text and "nearest neighbour" in text
    chart = text[text.index("<h2>Scores</h2>") : text.index("<h2>Success</h2>")]
    assert ">0.25</text>" in chart and "25 %</text>" not in chart


def test_rewards_beyond_a_full_one_have_no_bars(tmp_path: Path) -> None:
    page = Page("t")
    methods = collect_methods([Source(run_with(tmp_path, (-50.0, 250.0), "reach"))])
    add_scores(page, methods)
    assert score_table(methods)[1][0][2] == "1.000"
    assert not any('class="bars"' in part for part in page.parts) and "1.000" in page.parts[-2]


def test_successes_alone_are_no_scores(tmp_path: Path) -> None:
    page = Page("t")
    add_scores(page, collect_methods([Source(run_with(tmp_path, (0.0, 100.0), "open_drawer"))]))
    assert len(page.parts) == 1
