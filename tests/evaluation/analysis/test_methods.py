"""Evaluations are found in run folders, and grouped under labels without mixing what differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sam2act.evaluation.analysis.methods import (
    Method,
    Source,
    collect_methods,
    find_evaluations,
    run_names,
)
from sam2act.evaluation.results import ResultsError
from tests.evaluation.evaluated_runs import episodes, write_evaluation, write_rows


def counts(methods: list[Method]) -> dict[str, int]:
    """Episodes by label, in order."""
    return {method.label: len(method.rows) for method in methods}


# ----------------------------------------------------------------------------------- reading
def test_log_names_may_be_nested_and_repetitions_are_sorted(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write_evaluation(tmp_path, "model_last", "1", f"test/{number}")
    found = find_evaluations(tmp_path)
    assert [e.log_name for e in found] == ["test/1", "test/2", "test/10"]
    assert {(e.stem, e.series, e.kind) for e in found} == {("model_last", "test", "SAM2Act")}
    assert found[0].section("settings")["backend"] == "embedded"


def test_rows_of_all_processes_count(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, "model_last", "10")
    write_rows(folder, episodes("1111")[2:], rank=1)
    (evaluation,) = find_evaluations(tmp_path)
    assert [row.success for row in evaluation.rows] == [1, 0, 1, 1]


def test_copies_of_editors_are_no_evaluations(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, "model_last", "10")
    copies = folder / ".ipynb_checkpoints"
    copies.mkdir()
    shutil.copy(folder / "episodes.csv", copies / "episodes-checkpoint.csv")
    assert [evaluation.folder for evaluation in find_evaluations(tmp_path)] == [folder]


@pytest.mark.parametrize(
    ("stem", "kind"),
    [("model_7", "SAM2Act"), ("model_plus_last", "SAM2Act+"), ("ground_truth", "ground truth")],
)
def test_kind_follows_from_the_checkpoint(tmp_path: Path, stem: str, kind: str) -> None:
    run = tmp_path / "my_plus_run"  # the name of the folder says nothing
    write_evaluation(run, stem, "1")
    assert find_evaluations(run)[0].kind == kind


def test_stage_that_is_recorded_counts_more_than_the_name(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, "renamed", "1")
    path = folder / "evaluation.json"
    description = json.loads(path.read_text())
    description["checkpoint"] = {**description.get("checkpoint", {}), "stage": 2}
    path.write_text(json.dumps(description))
    assert find_evaluations(tmp_path)[0].kind == "SAM2Act+"


def test_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="nowhere: no such run folder"):
        find_evaluations(tmp_path / "nowhere")


def test_run_without_evaluation_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "model_last.pth").touch()
    with pytest.raises(ResultsError) as error:
        find_evaluations(tmp_path)
    command = f"python -m sam2act.eval --model-folder {tmp_path} --model-name model_last.pth"
    assert str(error.value).endswith(command)


def test_evaluation_that_has_only_begun_does_not_count(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, "model_last", "")
    (folder / "episodes.csv").touch()
    with pytest.raises(ResultsError, match="no finished episode"):
        find_evaluations(tmp_path)
    write_evaluation(tmp_path, "model_plus_last", "1")
    assert [e.stem for e in find_evaluations(tmp_path)] == ["model_plus_last"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"task,episode,mood\n", r"episodes\.csv: the columns are task,episode,mood,"),
        (b"\xff\xfe\x00", r"episodes\.csv is not a text file"),
    ],
)
def test_foreign_tables_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_evaluation(tmp_path, "model_last", "1")
    (folder / "episodes.csv").write_bytes(content)
    with pytest.raises(ResultsError, match=message):
        find_evaluations(tmp_path)


def test_broken_row_is_named_with_its_line(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, "model_last", "11")
    table = folder / "episodes.csv"
    table.write_text(table.read_text().replace("put_block_back,1,", "put_block_back,one,"))
    with pytest.raises(ResultsError, match=r"episodes\.csv, line 3: .*'one'"):
        find_evaluations(tmp_path)


def test_later_format_is_refused(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "1", format=2)
    with pytest.raises(ResultsError, match=r"evaluation\.json: format 2, this version reads 1"):
        find_evaluations(tmp_path)


def test_description_may_be_absent(tmp_path: Path) -> None:
    write_rows(tmp_path / "eval" / "none" / "model_last", episodes("1"))
    (method,) = collect_methods([Source(tmp_path)])
    assert method.evaluations[0].description == {}
    assert method.chance("put_block_back") is None


# ---------------------------------------------------------------------------------- labels
def three_kinds(run: Path) -> Path:
    write_evaluation(run, "model_plus_last", "110")
    write_evaluation(run, "ground_truth", "1111")
    write_evaluation(run, "model_last", "10")
    return run


def test_default_labels_of_a_single_run(tmp_path: Path) -> None:
    methods = collect_methods([Source(three_kinds(tmp_path))])
    assert list(counts(methods).items()) == [("SAM2Act", 2), ("SAM2Act+", 3), ("ground truth", 4)]


def test_several_runs_without_label_are_told_apart_by_name(tmp_path: Path) -> None:
    runs = [three_kinds(tmp_path / name) for name in ("b", "a")]
    methods = collect_methods([Source(run) for run in runs])
    expected = [f"{kind} ({name})" for name in "ba" for kind in ("SAM2Act", "SAM2Act+")]
    assert [m.label for m in methods if m.kind != "ground truth"] == expected


def test_runs_of_the_same_name_are_told_apart_by_path(tmp_path: Path) -> None:
    folders = [tmp_path / "x" / "run", tmp_path / "y" / "run"]
    assert run_names(folders) == {folder: str(folder) for folder in folders}
    assert run_names(folders[:1]) == {folders[0]: "run"}


def test_pooled_runs_count_as_trainings(tmp_path: Path) -> None:
    for seed, outcomes in (("0", "1111"), ("1", "1100")):
        for number in (1, 2):
            write_evaluation(tmp_path / seed, "model_plus_last", outcomes, f"test/{number}")
    sources = [Source(tmp_path / seed) for seed in "01"]
    (method,) = collect_methods(sources, pool=True)
    assert method.label == "SAM2Act+" and method.pools_trainings
    assert [len(run) for run in method.runs] == [8, 8]
    assert [sum(row.success for row in run) for run in method.runs] == [8, 4]


def test_repeated_evaluations_of_one_run_are_its_repetitions(tmp_path: Path) -> None:
    for number, outcomes in ((1, "11"), (2, "10"), (3, "00")):
        write_evaluation(tmp_path, "model_last", outcomes, f"test/{number}")
    (method,) = collect_methods([Source(tmp_path)])
    assert [sum(row.success for row in run) for run in method.runs] == [2, 1, 0]
    assert not method.pools_trainings


def test_equal_labels_are_pooled_and_others_are_not(tmp_path: Path) -> None:
    for name in "abc":
        write_evaluation(tmp_path / name, "model_last", "10")
    sources = [Source(tmp_path / "a", "ours"), Source(tmp_path / "b"), Source(tmp_path / "c")]
    assert set(counts(collect_methods(sources))) == {"ours", "SAM2Act (b)", "SAM2Act (c)"}
    sources[2] = Source(tmp_path / "c", "ours")
    assert counts(collect_methods(sources)) == {"ours": 4, "SAM2Act": 2}


def test_label_never_mixes_kinds_of_checkpoints(tmp_path: Path) -> None:
    methods = collect_methods([Source(three_kinds(tmp_path), "ours")])
    assert counts(methods) == {"ours: SAM2Act": 2, "ours: SAM2Act+": 3, "ours: ground truth": 4}


def test_other_log_names_and_checkpoints_are_told_apart(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "1", "test/1")
    write_evaluation(tmp_path, "model_last", "11", "test/2")
    write_evaluation(tmp_path, "model_last", "111", "colosseum/1")
    assert counts(collect_methods([Source(tmp_path)])) == {
        "SAM2Act, colosseum": 3,
        "SAM2Act, test": 3,
    }
    write_evaluation(tmp_path, "model_best", "1111", "test/1")
    assert counts(collect_methods([Source(tmp_path)])) == {
        "SAM2Act, colosseum, model_last": 3,
        "SAM2Act, test, model_best": 4,
        "SAM2Act, test, model_last": 3,
    }


def test_best_checkpoints_of_several_trainings_may_differ(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "0", "model_3", "1")
    write_evaluation(tmp_path / "1", "model_8", "1")
    sources = [Source(tmp_path / "0"), Source(tmp_path / "1")]
    assert counts(collect_methods(sources, pool=True)) == {"SAM2Act": 2}


def test_folder_given_twice_would_count_twice(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "1")
    with pytest.raises(ResultsError, match="given twice"):
        collect_methods([Source(tmp_path, "a"), Source(tmp_path / ".", "b")])


# -------------------------------------------------------------------------------- settings
def test_chance_comes_from_the_description(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "1")
    (method,) = collect_methods([Source(tmp_path)])
    assert method.chance("put_block_back") == 0.25
    assert method.chance("open_drawer") is None
