"""The steps of UVA's experiment: that their commands are possible and belong together."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sam2act.cli import imagine, report, train
from sam2act.cli.evaluate import build_parser as eval_parser
from sam2act.cli.evaluate import options_from
from sam2act.cli.training import build_parser as train_parser
from sam2act.config.load import load_experiment, load_network
from sam2act.policies.base import policy_class
from sam2act.training.start import run_files
from tests.places import SCRIPTS


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("uva_experiment")
    sys.path.remove(str(SCRIPTS))


def experiment_of(script: ModuleType, *flags: str) -> Any:
    return script.Experiment(script.build_parser().parse_args(flags))


GPU = ("--size", "gpu", "--more", "log_every 7", "--network", "act_diffloss_w 48")


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("pusht", ()),
        ("pusht", ("--quick",)),
        ("pusht", GPU),
        ("pusht", (*GPU, "--quick")),
        ("open_drawer", ()),
        ("open_drawer", ("--quick",)),
    ],
)
def test_every_training_is_possible_and_starts_from_the_one_before(
    script: ModuleType, tmp_path: Path, task: str, flags: tuple[str, ...]
) -> None:
    plan = experiment_of(script, "--task", task, "--output", str(tmp_path), *flags)
    written: dict[str, str] = {}
    for name, step in plan.every_step():
        if step.command[3] != "train":
            continue
        args = train_parser(train.__doc__).parse_args(list(step.command[4:]))
        experiment = load_experiment(args.exp_cfg_path, args.exp_cfg_opts)
        network = load_network(args.mvt_cfg_path, args.mvt_cfg_opts)
        policy_class(network).check_stage(1, experiment, network)
        assert experiment.tasks == task
        assert experiment.train_iter >= experiment.bs
        assert experiment.log_every == (7 if "gpu" in flags else 20)
        if name != "state":
            large = (512, 48) if "gpu" in flags else (64, 64)
            assert (network.encoder_embed_dim, network.act_diffloss_w) == large
            assert experiment.peract.amp == ("gpu" in flags)
        folder = run_files(args.log_dir, experiment).folder
        assert folder == plan.run(name).folder
        before = getattr(network, "pretrained_model_path", "")
        wanted = {"video": "autoencoder", "joint": "video", "one_stage": "autoencoder"}.get(name)
        assert before == (written[wanted] if wanted else "")
        written[name] = str(plan.run(name).last)
    assert list(written) == [*plan.size.trainings]
    assert ("state" in written) == (task == "pusht")


def test_evaluations_are_on_the_scenes_of_the_published_runner(script: ModuleType) -> None:
    seen = []
    for name, step in experiment_of(script).every_step():
        if step.command[3] == "eval":
            args = eval_parser().parse_args(list(step.command[4:]))
            options_from(args)
            seen.append((name, args.seed, args.eval_episodes, args.backend))
    each = [("evaluate_{}", 100_000, 50, "pusht"), ("evaluate_{}", 0, 6, "pusht")]
    runs = ("joint", "one_stage", "state")
    assert seen == [(n.format(run), *rest) for run in runs for n, *rest in each]


def test_the_page_shows_what_was_imagined(script: ModuleType, tmp_path: Path) -> None:
    plan = experiment_of(script, "--output", str(tmp_path))
    steps = dict(plan.every_step())
    args = imagine.build_parser().parse_args(list(steps["imagine"].command[4:]))
    assert args.output == plan.run("joint").folder / "imagined"
    page = report.build_parser().parse_args(list(steps["report"].command[4:]))
    assert [one.folder for one in page.runs] == [plan.run(p).folder for p in plan.methods]
    # A part of the steps: the page has what they evaluate, and what was begun before.
    part = ("--output", str(tmp_path), "--steps", "evaluate_state", "report")
    assert report_runs(script, *part) == ["state instead of pictures"]
    plan.run("joint").evaluations.mkdir(parents=True)
    assert report_runs(script, *part) == ["UVA, two stages", "state instead of pictures"]
    assert [step.command[3] for step in experiment_of(script, *part).steps()] == [
        *("eval", "eval", "report"),
    ]


def report_runs(script: ModuleType, *flags: str) -> list[str]:
    command = experiment_of(script, *flags).steps()[-1].command
    return [one.label for one in report.build_parser().parse_args(list(command[4:])).runs]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--steps", "jont"), "--steps jont: unknown; the steps are autoencoder, video"),
        (("--task", "open_drawer", "--data", "x"), "--data is for --task pusht"),
        (("--seed", "-1"), "--seed -1"),
        (("--minutes", "0"), "--minutes 0"),
    ],
)
def test_impossible_flags_are_refused(
    script: ModuleType, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    assert script.main(flags) == 2
    assert message in capsys.readouterr().err


def test_the_pieces_for_a_gpu_are_resumable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS / "benchmarks"))  # as if it were started
    pieces = importlib.import_module("train_uva_on_gpu")
    assert pieces.main(["--describe", "--device", "3"]) == 0
    told = capsys.readouterr().out
    assert "gpu_pusht_joint_seed0" in told and "--device 3" in told
    args = pieces.uva_experiment.build_parser().parse_args(list(pieces.FLAGS))
    assert args.minutes == 9 and not pieces.uva_experiment.check(
        pieces.uva_experiment.Experiment(args)
    )


def test_the_plan_is_told_in_words(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--describe", "--task", "open_drawer"]) == 0
    told = capsys.readouterr().out
    assert "demos --tasks open_drawer" in told and "--images all" in told and "one_stage" in told
