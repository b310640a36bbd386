"""The commands on the page of a report repeat its evaluations."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest

from sam2act.cli.evaluate import build_parser, options_from
from sam2act.evaluation.analysis.methods import Source, collect_methods
from sam2act.reports.reproduction import evaluation_commands
from tests.evaluation.evaluated_runs import write_evaluation


def commands(run: Path) -> list[argparse.Namespace]:
    """The evaluation commands of a run folder, as eval.py understands them."""
    methods = collect_methods([Source(run)])
    texts = [text for method in methods for text in evaluation_commands(method)]
    lines = [shlex.split(text.replace("\\\n", "")) for text in texts]
    assert all(words[:3] == ["python", "-m", "sam2act.eval"] for words in lines)
    found = [build_parser().parse_args(words[3:]) for words in lines]
    for args in found:
        options_from(args)
    return found


def test_commands_repeat_the_evaluations(tmp_path: Path) -> None:
    settings = {"perturb": ["table_color", "camera_pose"], "data": "unused", "start_episode": 2}
    for number in (1, 2):
        switches = {"strict_order": True, "memory_strict": False, "clip_targets": True}
        seeded = settings | switches | {"seed": number - 1, "batch_size": 8}
        write_evaluation(tmp_path, "model_last", "1111", f"test/{number}", settings=seeded)
    write_evaluation(
        tmp_path, "ground_truth", "1", "test/7", settings={"seed": None, "data": "data/test"}
    )
    policy, truth = commands(tmp_path)
    assert (policy.model_name, policy.log_name, policy.repeats) == (["model_last.pth"], "test", 2)
    assert policy.eval_datafolder == Path("data/val")  # the default: the scenes are new
    assert (policy.seed, policy.perturb) == (0, settings["perturb"])
    assert (policy.tasks, policy.eval_episodes) == (["put_block_back"], 4)
    assert (policy.start_episode, policy.batch_size, policy.strict_order) == (2, 8, True)
    assert (policy.memory_strict, policy.clip_targets, policy.stop_on_success) == (
        False,
        True,
        True,
    )
    assert (policy.exp_cfg_path, policy.mvt_cfg_path) == ("", "")
    assert truth.ground_truth and not truth.model_name
    assert (truth.log_name, truth.repeats, truth.seed) == ("test/7", 1, None)
    assert truth.eval_datafolder == Path("data/test")


def test_replaced_configurations_are_part_of_the_command(tmp_path: Path) -> None:
    paths = {"exp_cfg_path": "configs/tiny.yaml", "mvt_cfg_path": "my configs/mvt.yaml"}
    write_evaluation(tmp_path, "model_last", "1", settings=paths)
    (args,) = commands(tmp_path)
    assert {name: getattr(args, name) for name in paths} == paths


@pytest.mark.parametrize("seeds", [(0, 0), (5, 7), (1, 0), (3, None), (None, 3)])
def test_other_seeds_than_successive_ones_are_separate_commands(
    tmp_path: Path, seeds: tuple[int | None, ...]
) -> None:
    for number, seed in enumerate(seeds, start=1):
        settings = {"seed": seed, "data": "data/test"}
        write_evaluation(tmp_path, "model_last", "10", f"test/{number}", settings=settings)
    found = [(args.log_name, args.repeats, args.seed) for args in commands(tmp_path)]
    assert found == [("test/1", 1, seeds[0]), ("test/2", 1, seeds[1])]


@pytest.mark.parametrize("seeds", [(4, 5, 6), (None, None, None)])
def test_successive_seeds_or_none_are_one_command(
    tmp_path: Path, seeds: tuple[int | None, ...]
) -> None:
    for number, seed in enumerate(seeds, start=1):
        settings = {"seed": seed, "data": "data/test"}
        write_evaluation(tmp_path, "model_last", "10", f"test/{number}", settings=settings)
    (args,) = commands(tmp_path)
    assert (args.log_name, args.repeats, args.seed) == ("test", 3, seeds[0])


def test_evaluations_with_other_settings_are_separate_commands(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "10", "test/1", settings={"seed": 1})
    write_evaluation(tmp_path, "model_last", "100", "test/2", settings={"seed": 2})
    assert [args.eval_episodes for args in commands(tmp_path)] == [2, 3]
