"""The steps of the memory experiment: that their commands are possible, and how they end."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from sam2act import train, train_plus
from sam2act.config.load import load_experiment, load_network
from sam2act.eval import build_parser as eval_parser
from sam2act.evaluation_run import check_options
from sam2act.training.run import build_parser as train_parser

PATH = Path(__file__).resolve().parents[1] / "scripts" / "memory_experiment.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("memory_experiment", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def steps_of(script: ModuleType, *flags: str) -> list:
    return script.Experiment(script.build_parser().parse_args(flags)).steps()


VARIANTS: list[tuple[str, ...]] = [
    ("--size", "tiny"),
    ("--size", "tiny", "--quick"),
    ("--size", "full"),
    ("--size", "full", "--corrected", "--no-downloads"),
]


@pytest.mark.parametrize("task", ["put_block_back", "rearrange_block", "reopen_drawer"])
@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_configurations_of_both_stages_are_possible(
    script: ModuleType, task: str, variant: tuple[str, ...]
) -> None:
    _, first, second, *_ = steps_of(script, *variant, "--task", task, "--stage-two", "log_every 7")
    for stage, step in ((train, first), (train_plus, second)):
        flags = list(step.command[step.command.index("-m") + 2 :])
        if stage is train_plus:
            assert flags[flags.index("--task_cfg_path") + 1].endswith(f"{task}.yaml")
        args = train_parser(stage.STAGE).parse_args(flags)
        experiment = load_experiment(args.exp_cfg_path, args.exp_cfg_opts, args.task_cfg_path)
        network = load_network(args.mvt_cfg_path, args.mvt_cfg_opts, args.task_cfg_path)
        stage.check(experiment, network)
        assert experiment.tasks == task and network.use_memory == (stage is train_plus)
        assert experiment.log_every == (7 if stage is train_plus else 5)
        without_clip = "full" not in variant or "--no-downloads" in variant
        assert (experiment.language.encoder == "hashed") == without_clip
    if "full" not in variant:
        keyframes = {"put_block_back": 11, "rearrange_block": 10, "reopen_drawer": 8}[task]
        assert network.num_maskmem + 1 == keyframes, "a window is a whole episode"


@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_evaluations_are_possible_and_on_scenes_of_their_own(
    script: ModuleType, variant: tuple[str, ...]
) -> None:
    seeds = set()
    for seed in ("0", "1"):
        steps = steps_of(script, *variant, "--seed", seed)
        plain, plus = (step for step in steps if "sam2act.eval" in step.command)
        for step, checkpoint in ((plain, "model_last.pth"), (plus, "model_plus_last.pth")):
            args = eval_parser().parse_args(list(step.command[3:]))
            check_options(args)
            assert args.model_name == [checkpoint]
            assert args.model_folder.name.endswith(f"put_block_back_seed{seed}")
            seeds |= {args.seed + repeat for repeat in range(args.repeats)}
    assert len(seeds) == (8 if "full" in variant else 2)


def test_a_step_that_takes_too_long_is_interrupted(script: ModuleType, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    program = (
        "import sys, time\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt: open(sys.argv[1], 'w').write('saved')"
    )
    step = script.Step("sleep", (sys.executable, "-c", program, str(saved)))
    assert script.run(step, time.monotonic() + 1.5) == script.TIME_IS_UP
    assert saved.read_text() == "saved"


def test_a_failing_step_ends_the_experiment(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = script.Step("fails", (sys.executable, "-c", "raise SystemExit(7)"))
    never = script.Step("never", (sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"))
    monkeypatch.setattr(script.Experiment, "steps", lambda self: [fails, never])
    assert script.main(["--output", str(tmp_path)]) == 7
    assert not (tmp_path / "ran").exists()
    (durations,) = tmp_path.glob("durations_*.txt")
    assert durations.read_text().startswith("fails\t0 seconds")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--quick", "--size", "full"), "--quick is for --size tiny"),
        (("--corrected",), "are for --size full"),
        (("--seed", "-3"), "--seed -3"),
        (("--output", "a b"), "must not contain spaces"),
    ],
)
def test_impossible_flags(
    script: ModuleType, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    assert script.main([*flags, "--describe"]) == 2
    assert message in capsys.readouterr().err
