"""Reports of policies, simulators and rewards that this package does not know."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sam2act.evaluation.analysis.methods import Source, collect_methods
from sam2act.reports.learning_curves import loss_charts
from sam2act.reports.page import Page
from sam2act.reports.remarks import remarks
from sam2act.reports.results import footnote, headline, success_table
from sam2act.reports.training import add_training
from tests.evaluation.evaluated_runs import episodes, write_evaluation, write_rows

CHECKPOINT = {"name": "model_last.pth", "sha256": "0" * 64, "step": 3, "policy": "stacker"}


def evaluated(run: Path, outcomes: str = "1100", policy: str = "stacker", **settings: str) -> Path:
    checkpoint = CHECKPOINT | {"policy": policy}
    return write_evaluation(run, "model_last", outcomes, checkpoint=checkpoint, settings=settings)


def test_a_method_bears_the_name_of_its_policy(tmp_path: Path) -> None:
    evaluated(tmp_path / "a")
    write_evaluation(tmp_path / "b", "model_last", "1111")
    one, two = collect_methods([Source(tmp_path / "a")]), collect_methods([Source(tmp_path / "b")])
    assert [(method.label, method.kind) for method in (*one, *two)] == [
        ("stacker", "stacker"),
        ("SAM2Act", "SAM2Act"),
    ]
    assert "successful episodes stacker 2 of 4" in headline(one)
    both = collect_methods([Source(tmp_path / "a"), Source(tmp_path / "b", "ours")])
    assert "without memory (ours) 4 of 4, stacker 2 of 4" in headline(both)


def test_simulator_of_somebody_else_is_named(tmp_path: Path) -> None:
    evaluated(tmp_path, backend="table")
    methods = collect_methods([Source(tmp_path)])
    assert remarks(methods) == ["Simulator: table, a plug-in."]
    assert "put_block_back in table: successful episodes" in headline(methods)


def test_graded_rewards_have_a_column(tmp_path: Path) -> None:
    folder = evaluated(tmp_path, "11")
    header, rows = success_table(methods := collect_methods([Source(tmp_path)]))
    assert "mean reward" not in header and "Mean reward" not in footnote(methods)
    for path in folder.glob("episodes*.csv"):
        path.unlink()
    one, two = episodes("10")
    write_rows(folder, [dataclasses.replace(one, reward=96.0), dataclasses.replace(two, reward=41)])
    header, rows = success_table(methods := collect_methods([Source(tmp_path)]))
    assert dict(zip(header, rows[0], strict=True))["mean reward"] == "68.5"
    assert "threshold of the simulator" in footnote(methods)


def test_terms_of_any_loss_are_drawn() -> None:
    points = [(0.0, 1.0), (1.0, -0.5)]
    names = ("total_loss", "validation_total_loss", "step_error", "validation_step_error", "lr")
    curves = {name: points for name in (*names, "samples_per_second", "error_keyframe_3")}
    charts = loss_charts(curves)
    assert list(charts) == ["Losses", "Terms of the loss"]
    terms = charts["Terms of the loss"]
    assert terms.count("<polyline") == 2
    assert ">step error<" in terms and ">step error, held out<" in terms


def test_training_of_another_policy_has_no_memory_to_learn(tmp_path: Path) -> None:
    (tmp_path / "mvt_cfg.yaml").write_text("policy: stacker\nwidth: 3\n")
    (tmp_path / "metrics.csv").write_text("step,total_loss,step_error\n1,2.0,2.0\n2,1.0,1.0\n")
    page = Page("")
    add_training(page, [tmp_path])
    text = "\n".join(page.parts)
    assert "stacker, stage 1" in text and "Terms of the loss" in text
    assert "memory" not in text and "train_plus" not in text
    page = Page("")
    add_training(page, [tmp_path / "of_sam2act"])
    assert "The moment memory is learned" in "\n".join(page.parts)
