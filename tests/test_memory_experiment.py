"""The steps of the memory experiment: that their commands are possible, and how they end."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sam2act.cli import train, train_plus
from sam2act.cli.evaluate import build_parser as eval_parser
from sam2act.cli.evaluate import options_from
from sam2act.cli.training import build_parser as train_parser
from sam2act.config.load import load_experiment, load_network
from sam2act.policies.sam2act.policy import SAM2ActPolicy
from sam2act.training.start import run_files
from tests.places import SCRIPTS


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPTS))  # where the script finds its other part
    yield importlib.import_module("memory_experiment")
    sys.path.remove(str(SCRIPTS))


def steps_of(script: ModuleType, *flags: str) -> list:
    return script.Experiment(script.build_parser().parse_args(flags)).steps()


KEYFRAMES = {
    **{"put_block_back": 12, "rearrange_block": 11, "reopen_drawer": 9},
    "push_same_button": 5,
}
VARIANTS: list[tuple[str, ...]] = [
    ("--size", "tiny"),
    ("--size", "tiny", "--quick"),
    ("--size", "full"),
    ("--size", "full", "--corrected", "--no-downloads"),
]


@pytest.mark.parametrize("task", KEYFRAMES)
@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_configurations_of_both_stages_are_possible(
    script: ModuleType, task: str, variant: tuple[str, ...]
) -> None:
    flags = (*variant, "--task", task, "--stage-two", "log_every 7")
    demos, first, second, *_ = steps_of(script, *flags)
    image_size = int(demos.command[demos.command.index("--image-size") + 1])
    for stage, step in ((train, first), (train_plus, second)):
        words = list(step.command[4:])
        if stage is train_plus:
            assert task in words[words.index("--task_cfg_path") + 1]
        args = train_parser(stage.__doc__).parse_args(words)
        experiment = load_experiment(args.exp_cfg_path, args.exp_cfg_opts, args.task_cfg_path)
        network = load_network(args.mvt_cfg_path, args.mvt_cfg_opts, args.task_cfg_path)
        SAM2ActPolicy.check_stage(2 if stage is train_plus else 1, experiment, network)
        assert experiment.image_size == image_size == (128 if "full" in variant else 64)
        assert experiment.tasks == task and network.use_memory == (stage is train_plus)
        assert experiment.log_every == (7 if stage is train_plus else 5)
        without_clip = "full" not in variant or "--no-downloads" in variant
        assert (experiment.language.encoder == "hashed") == without_clip
    keyframes = KEYFRAMES[task]
    if "full" not in variant:
        assert network.num_maskmem + 1 == keyframes, "a window is a whole episode"
    assert network.num_maskmem + 1 <= keyframes, "no episode is too short for a window"


@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_evaluations_are_possible_and_on_scenes_of_their_own(
    script: ModuleType, variant: tuple[str, ...]
) -> None:
    seeds = set()
    for seed in ("0", "1"):
        steps = steps_of(script, *variant, "--seed", seed)
        plain, plus = (step for step in steps if step.command[3] == "eval")
        for step, checkpoint in ((plain, "model_last.pth"), (plus, "model_plus_last.pth")):
            args = eval_parser().parse_args(list(step.command[4:]))
            options_from(args)
            assert args.model_name == [checkpoint]
            assert args.model_folder.name.endswith(f"put_block_back_seed{seed}")
            seeds |= {args.seed + repeat for repeat in range(args.repeats)}
    assert len(seeds) == (8 if "full" in variant else 2)


def folders_of(script: ModuleType, *flags: str) -> tuple[str, str]:
    """The run folder that both stages and both evaluations use, and the page."""
    steps = steps_of(script, *flags)
    folders = set()
    for stage, step in zip((train, train_plus), steps[1:3], strict=True):
        args = train_parser(stage.__doc__).parse_args(list(step.command[4:]))
        folders.add(run_files(args.log_dir, load_experiment("", args.exp_cfg_opts)).folder)
    for step in steps[3:5]:
        folders.add(eval_parser().parse_args(list(step.command[4:])).model_folder)
    (folder,) = folders
    command = steps[5].command
    assert command[3] == "report" and str(folder) in command
    return folder.name, Path(command[command.index("--output") + 1]).name


def test_other_options_have_folders_of_their_own(script: ModuleType) -> None:
    variants: list[tuple[str, ...]] = [
        (),
        ("--stage-one", "epochs 8"),
        ("--stage-two", "epochs 8"),
        ("--stage-one", "epochs 8", "--stage-two", "epochs 8"),
        ("--stage-one", "peract.lr 1e-4 " * 5 + "bs 3"),
        ("--stage-one", "peract.lr 1e-4 " * 5 + "bs 2"),
        ("--size", "full"),
        ("--size", "full", "--no-downloads"),
    ]
    found = [folders_of(script, *flags) for flags in variants]
    for names in zip(*found, strict=True):
        assert len(set(names)) == len(variants)
        assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,80}", name) for name in names), names
    assert found[0] == ("put_block_back_seed0", "report_put_block_back_seed0.html")
    assert found[1][0].startswith("put_block_back_epochs-8_")


def test_several_tasks_and_seeds_come_one_after_the_other(script: ModuleType) -> None:
    args = script.build_parser().parse_args(["--task", "all", "--seed", "1", "--seeds", "2"])
    series = script.Series(args)
    alone = [
        steps_of(script, "--task", task, "--seed", seed)
        for seed in ("1", "2")
        for task in ("put_block_back", "rearrange_block", "reopen_drawer")
    ]
    *steps, last = series.steps()
    assert steps == [step for one in alone for step in one], "as if each were asked for alone"
    runs = {Path(command[4]).name for command in (one[-1].command for one in alone)}
    assert {Path(word).name for word in last.command} >= {"--pool", *runs} and len(runs) == 6
    assert series.page.name == "report_all_seeds1-2.html"
    one = script.Series(script.build_parser().parse_args(["--task", "rearrange_block"]))
    assert one.steps() == steps_of(script, "--task", "rearrange_block")


def test_spaces_do_not_tell_options_apart(script: ModuleType) -> None:
    plain = folders_of(script, "--stage-one", "epochs 8")
    assert folders_of(script, "--stage-one", "  epochs\n 8 ", "--stage-two", " ") == plain
    assert folders_of(script, "--stage-one", " ") == folders_of(script)


def test_a_failing_step_ends_the_experiment(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = script.Step("fails", (sys.executable, "-c", "raise SystemExit(7)"))
    never = script.Step("never", (sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"))
    monkeypatch.setattr(script.Series, "steps", lambda self: [fails, never])
    assert script.main(["--output", str(tmp_path)]) == 7
    assert not (tmp_path / "ran").exists()
    (durations,) = tmp_path.glob("durations_*.txt")
    assert re.match(r"fails\t0 seconds\t\d+ CPU seconds\n", durations.read_text())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--quick", "--size", "full"), "--quick is for --size tiny"),
        (("--corrected",), "are for --size full"),
        (("--seed", "-3"), "--seed -3"),
        (("--seeds", "0"), "--seeds 0: at least one is needed"),
        (("--output", "a b"), "must not contain spaces"),
        (("--minutes", "0"), "--minutes 0: not a positive number"),
        (("--minutes", "-2"), "--minutes -2: not a positive number"),
        (("--minutes", "nan"), "--minutes nan: not a positive number"),
        (("--minutes", "inf"), "--minutes inf: not a positive number"),
    ],
)
def test_impossible_flags(
    script: ModuleType, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    assert script.main([*flags, "--describe"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--hel", "--desc", "--qui"])
def test_flags_cannot_be_abbreviated(
    script: ModuleType, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    with pytest.raises(SystemExit) as error:
        script.main([flag])
    assert error.value.code == 2
    assert f"unrecognized arguments: {flag}" in capsys.readouterr().err
