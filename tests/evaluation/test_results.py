"""Rows, tables and descriptions of evaluations."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sam2act.evaluation.analysis.first_guesses import Guesses
from sam2act.evaluation.analysis.tables import table_text, write_published_table
from sam2act.evaluation.results import (
    Acting,
    EpisodeRow,
    ResultsError,
    RowWriter,
    check_same,
    describe,
    read_acting,
    read_description,
    read_rows,
    read_targets,
    rows_file,
)

ROW = EpisodeRow("put_block_back", 3, 1, 99, 1, 100.0, 11, instruction='move "it", then, stop')
FAILED = EpisodeRow("put_block_back", 4, 2, None, 0, 0.0, 2, "InvalidActionError", "a\nb, c", 1.5)
FAILED_AS_STORED = replace(FAILED, message="a b, c")


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path / rows_file())
    writer.write(FAILED)
    writer.write(ROW)
    assert read_rows(tmp_path) == [ROW, FAILED_AS_STORED]


def test_targets_come_back_whatever_an_interruption_cut_off(tmp_path: Path) -> None:
    path = tmp_path / rows_file(2)
    writer = RowWriter(path)
    targets = ((0.123456789, *[0.0] * 8), (1.0, *[0.0] * 8))
    writer.write(replace(ROW, targets=((9.0,) * 9,)))
    with open(tmp_path / "targets_rank2.jsonl", "a") as stream:
        stream.write('{"task": "cut o')
    writer.write(replace(FAILED, targets=()))
    writer.write(replace(ROW, targets=targets))
    found = read_targets(tmp_path)
    assert found.keys() == {ROW.key, FAILED.key} and found[FAILED.key].shape == (0, 9)
    assert found[ROW.key][:, 0].tolist() == [0.12346, 1.0]
    assert read_rows(tmp_path) == [ROW, FAILED_AS_STORED], "rows are as without targets"
    (tmp_path / "targets.jsonl").write_text('{"task": "x", "episode": 0, "targets": [[1]]}\n')
    with pytest.raises(ResultsError, match=r"targets\.jsonl, line 1: .*remove that line"):
        read_targets(tmp_path)


def test_costs_of_acting_stand_beside_the_rows(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path / rows_file(1))
    writer.write(FAILED)  # as earlier versions did
    writer.write(replace(ROW, acting=Acting(1, 9.0, 9.0)))
    writer.write(replace(ROW, acting=Acting(11, 0.5, 2.25)))
    assert read_acting(tmp_path) == {ROW.key: Acting(11, 0.5, 2.25)}
    assert read_rows(tmp_path) == [ROW, FAILED_AS_STORED], "rows are as without them"
    with open(tmp_path / "acting_rank1.jsonl", "a") as stream:
        stream.write('{"task": "x", "episode": 0, "forward_passes": 1}\n')
    with pytest.raises(ResultsError, match=r"acting_rank1\.jsonl, line 3: .*remove that line"):
        read_acting(tmp_path)


def test_texts_are_kept_to_one_line_of_sensible_length(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path / rows_file())
    writer.write(replace(ROW, message="x" * 200_000, instruction="one\ntwo\r\n three"))
    (row,) = read_rows(tmp_path)
    assert len(row.message) == 2000 and row.instruction == "one two three"


def test_files_of_several_processes_are_joined(tmp_path: Path) -> None:
    RowWriter(tmp_path / rows_file(0)).write(ROW)
    RowWriter(tmp_path / rows_file(3)).write(FAILED)
    assert [row.episode for row in read_rows(tmp_path)] == [3, 4]


def test_a_line_cut_off_by_an_interruption_is_run_again(tmp_path: Path) -> None:
    """Wherever it was cut: texts hold commas and quotes, so cells of a row may be quoted."""
    path = tmp_path / rows_file()
    writer = RowWriter(path)
    writer.write(FAILED)
    whole = path.read_bytes()
    writer.write(ROW)
    complete = path.read_bytes()
    for end in range(len(complete)):
        path.write_bytes(complete[:end])
        expected = [] if end < len(whole) else [FAILED_AS_STORED]
        assert read_rows(tmp_path) == expected
        writer.write(ROW)
        assert read_rows(tmp_path) == [ROW, *expected]
    assert path.read_bytes() == complete


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / rows_file()
    path.write_text("task,score\nx,1\n")
    with pytest.raises(ResultsError, match=r"episodes\.csv: the columns are task,score"):
        read_rows(tmp_path)
    path.unlink()
    RowWriter(path).write(ROW)
    path.write_text(path.read_text().replace(",11,", ",eleven,"))
    with pytest.raises(ResultsError, match=r"episodes\.csv, line 2: .*eleven"):
        read_rows(tmp_path)


def test_tables_of_one_episode(tmp_path: Path) -> None:
    write_published_table(tmp_path, [ROW])
    assert (tmp_path / "eval_results.csv").read_text().splitlines()[1:] == [
        "put_block_back,100.0,11.0,11",
        "average,100.0,,",
    ]
    assert table_text([ROW]).endswith("100.0 ±  0.0 %         1   11.0    25 %")
    text = table_text([ROW, FAILED], {"put_block_back": Guesses(1, 2, 4)})
    assert "first guess right" in text and text.endswith("25 %             25.0 %")


def test_tables_of_several_tasks(tmp_path: Path) -> None:
    other = EpisodeRow("open_drawer", 0, 0, 0, 0, 0.0, 25, "timeout")
    for _ in range(2):  # writing again replaces it
        write_published_table(tmp_path, [ROW, FAILED, other])
    with open(tmp_path / "eval_results.csv", newline="") as stream:
        lines = list(csv.reader(stream))
    assert lines == [
        ["task", "success rate", "length", "total_transitions"],
        ["put_block_back", "50.0", "6.5", "13"],
        ["open_drawer", "0.0", "25.0", "38"],  # all steps so far, as published
        ["average", "25.0", "", ""],
    ]
    text = table_text([ROW, FAILED, other])
    assert "50.0 ± 35.4 %" in text and "25.0 ± 17.7 %" in text.splitlines()[-1]


def description(**changes: Any) -> dict[str, Any]:
    settings = {"seed": 1, "episode_length": 25, "tasks": ["x"]}
    settings |= {"start_episode": 0, "eval_episodes": 10, **changes}
    return {"settings": settings, "checkpoint": {"sha256": "ab"}, "chance": {"x": 0.5}}


def test_an_evaluation_is_continued_only_with_equal_settings(tmp_path: Path) -> None:
    check_same(tmp_path, description())  # nothing is there
    describe(tmp_path, description())
    check_same(tmp_path, description(episode_length=11))  # no episode is finished
    RowWriter(tmp_path / rows_file()).write(ROW)
    check_same(tmp_path, description(eval_episodes=20))
    with pytest.raises(ResultsError, match="settings episode_length 25, now it is 11"):
        check_same(tmp_path, description(episode_length=11))
    changed = description() | {"checkpoint": {"sha256": "cd"}}
    with pytest.raises(ResultsError, match=r"checkpoint sha256 'ab'.*another --log-name"):
        describe(tmp_path, changed)
    known_later = description() | {"checkpoint": {"sha256": "ab", "config": "new"}}
    check_same(tmp_path, known_later)  # what one side does not say is not compared


def test_a_description_grows_with_what_is_added(tmp_path: Path) -> None:
    describe(tmp_path, description(start_episode=5) | {"skipped": {"x/3": "cut", "x/6": "cut"}})
    RowWriter(tmp_path / rows_file()).write(replace(ROW, task="x"))
    more = description(tasks=["y"], start_episode=0, eval_episodes=3) | {"chance": {"y": 0.25}}
    describe(tmp_path, more)
    stored = read_description(tmp_path)
    assert stored["chance"] == {"x": 0.5, "y": 0.25}
    assert stored["skipped"] == {"x/6": "cut"}, "episode 3 has been made up for"
    settings = stored["settings"]
    assert settings["tasks"] == ["x", "y"]
    assert (settings["start_episode"], settings["eval_episodes"]) == (0, 15)


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("{")
    RowWriter(tmp_path / rows_file()).write(ROW)
    with pytest.raises(ResultsError, match=r"evaluation\.json cannot be read"):
        describe(tmp_path, description())


def test_an_evaluation_by_a_version_that_did_not_say_how_it_acted_is_not_continued(
    tmp_path: Path,
) -> None:
    describe(tmp_path, description())
    RowWriter(tmp_path / rows_file()).write(ROW)
    with pytest.raises(ResultsError, match="clip_targets 'unknown', now it is True"):
        check_same(tmp_path, description(clip_targets=True))
    check_same(tmp_path, description(executor="single"))  # as all did
    with pytest.raises(ResultsError, match=r"executor 'single', now it is 'open_loop\(2\)'"):
        check_same(tmp_path, description(executor="open_loop(2)"))


def test_a_second_try_replaces_an_episode_that_the_simulator_lost(tmp_path: Path) -> None:
    lost = replace(FAILED_AS_STORED, failure="SimulatorDied: KeyError")
    RowWriter(tmp_path / rows_file(1)).write(lost)
    RowWriter(tmp_path / rows_file(0)).write(FAILED_AS_STORED)
    assert read_rows(tmp_path) == [FAILED_AS_STORED], "whichever file is read last"
    assert lost.is_lost and not FAILED_AS_STORED.is_lost


def test_what_precedes_the_first_row_happens_once(tmp_path: Path) -> None:
    called: list[int] = []
    writer = RowWriter(tmp_path / rows_file(), before=lambda: called.append(1))
    assert called == []
    writer.write(ROW)
    writer.write(FAILED)
    assert called == [1] and len(read_rows(tmp_path)) == 2
