"""Rows, tables and descriptions of evaluations."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sam2act.evaluation.results import (
    EpisodeRow,
    ResultsError,
    RowWriter,
    describe,
    read_description,
    read_rows,
    rows_file,
    summarise,
    table_text,
    write_published_table,
)

ROW = EpisodeRow("put_block_back", 3, 1, 99, 1, 100.0, 11, instruction='move "it", then, stop')
FAILED = EpisodeRow("put_block_back", 4, 2, None, 0, 0.0, 2, "InvalidActionError", "a\nb, c", 1.5)


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path / rows_file())
    writer.write(FAILED)
    writer.write(ROW)
    assert read_rows(tmp_path) == [ROW, replace(FAILED, message="a b, c")]


def test_files_of_several_processes_are_joined(tmp_path: Path) -> None:
    RowWriter(tmp_path / rows_file(0)).write(ROW)
    RowWriter(tmp_path / rows_file(3)).write(FAILED)
    assert [row.episode for row in read_rows(tmp_path)] == [3, 4]


@pytest.mark.parametrize("kept", [5, 20, 40])
def test_a_line_cut_off_by_an_interruption_is_run_again(tmp_path: Path, kept: int) -> None:
    path = tmp_path / rows_file()
    writer = RowWriter(path)
    writer.write(ROW)
    whole = path.read_bytes()
    writer.write(FAILED)
    path.write_bytes(path.read_bytes()[: len(whole) + kept])
    assert read_rows(tmp_path) == [ROW]
    writer.write(FAILED)
    assert [row.episode for row in read_rows(tmp_path)] == [3, 4]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / rows_file()
    path.write_text("task,score\nx,1\n")
    with pytest.raises(ResultsError, match=r"episodes\.csv: the columns are task, score"):
        read_rows(tmp_path)
    path.unlink()
    RowWriter(path).write(ROW)
    path.write_text(path.read_text().replace(",11,", ",eleven,"))
    with pytest.raises(ResultsError, match=r"episodes\.csv, line 2: .*eleven"):
        read_rows(tmp_path)


def test_one_episode_has_a_summary() -> None:
    (summary,) = summarise([ROW])
    assert (summary.success_rate, summary.standard_error, summary.mean_steps) == (100.0, 0.0, 11.0)
    assert summary.chance == 25.0


def test_summary_of_several_tasks() -> None:
    other = EpisodeRow("open_drawer", 0, 0, 0, 0, 0.0, 25, "timeout")
    block, drawer = summarise([ROW, FAILED, replace(ROW, episode=5), FAILED, other])
    assert (block.episodes, block.success_rate, block.total_steps) == (4, 50.0, 26)
    assert block.standard_error == pytest.approx(25.0)
    assert (drawer.task, drawer.success_rate, drawer.chance) == ("open_drawer", 0.0, None)
    assert "average" in table_text([block, drawer]) and "50.0 ± 25.0 %" in table_text([block])


def test_published_table(tmp_path: Path) -> None:
    other = EpisodeRow("open_drawer", 0, 0, 0, 0, 0.0, 25, "timeout")
    for _ in range(2):  # writing again replaces it
        write_published_table(tmp_path, summarise([ROW, FAILED, other]))
    with open(tmp_path / "eval_results.csv", newline="") as stream:
        lines = list(csv.reader(stream))
    assert lines == [
        ["task", "success rate", "length", "total_transitions"],
        ["put_block_back", "50.0", "6.5", "13"],
        ["open_drawer", "0.0", "25.0", "25"],
        ["average", "25.0", "", ""],
    ]


def description(**changes: Any) -> dict[str, Any]:
    settings = {"seed": 1, "episode_length": 25, "eval_episodes": 10, **changes}
    return {"settings": settings, "checkpoint": {"sha256": "ab"}, "chance": {"x": 0.5}}


def test_an_evaluation_is_continued_only_with_equal_settings(tmp_path: Path) -> None:
    describe(tmp_path, description())
    describe(tmp_path, description(eval_episodes=20))  # more episodes are fine
    assert read_description(tmp_path)["settings"]["eval_episodes"] == 10
    with pytest.raises(ResultsError, match="settings episode_length 25, now it is 11"):
        describe(tmp_path, description(episode_length=11))
    changed = description() | {"checkpoint": {"sha256": "cd"}}
    with pytest.raises(ResultsError, match=r"checkpoint sha256 'ab'.*another --log-name"):
        describe(tmp_path, changed)


def test_a_description_gains_the_chances_of_further_tasks(tmp_path: Path) -> None:
    describe(tmp_path, description())
    describe(tmp_path, description() | {"chance": {"y": 0.25}})
    assert read_description(tmp_path)["chance"] == {"x": 0.5, "y": 0.25}


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(ResultsError, match=r"evaluation\.json cannot be read"):
        describe(tmp_path, description())
    assert json.loads("{}") == {}
