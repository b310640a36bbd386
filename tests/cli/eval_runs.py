"""Run folders, demos and calls for tests of eval.py."""

from __future__ import annotations

from pathlib import Path

from sam2act.cli.evaluate import main
from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.envs.recording.demo_generation import Request, generate
from sam2act.evaluation.results import EpisodeRow, read_rows
from sam2act.policies.checkpoint import build_policy, config_extra, save_checkpoint, write_config

TASK = "put_block_back"
FRESH = ("--backend", "embedded", "--seed", 11)
SIZES = "depth 2 data.points 1024 num_maskmem 3"


def make_run_folder(folder: Path) -> Path:
    """A run with checkpoints of both stages."""
    experiment = load_experiment("configs/tiny.yaml")
    for name, config in (("model_1", "tiny"), ("model_plus_last", "tiny_plus")):
        network = load_network(f"configs/mvt/{config}.yaml", SIZES)
        bundle = build_policy(experiment, network, seed=1)
        extra = config_extra(bundle) | {"step": 80}
        save_checkpoint(
            folder / f"{name}.pth", {"model_state": bundle.model_state(), "extra": extra}
        )
        suffix = "_plus" if "plus" in name else ""
        write_config(folder / f"exp_cfg{suffix}.yaml", to_dict(experiment))
        write_config(folder / f"mvt_cfg{suffix}.yaml", to_dict(network))
    return folder


def make_demos(folder: Path) -> Path:
    """A split with two demos of two tasks, without images."""
    list(generate(Request((TASK, "push_buttons"), 2, folder, seed=2, images="none"), workers=1))
    return folder


def evaluate(run_folder: Path, *flags: object) -> int:
    """The exit status of eval.py on a CPU."""
    return main(["--model-folder", str(run_folder), "--device", "cpu", *map(str, flags)])


def rows_of(run_folder: Path, log_name: str, checkpoint: str) -> list[EpisodeRow]:
    """What it stored."""
    return read_rows(run_folder / "eval" / log_name / checkpoint)
