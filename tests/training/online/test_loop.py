"""The loop of policies that learn by acting, through its commands, on a small environment."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam2act.cli import rl_eval, rl_train
from sam2act.core.registry import ENVS
from sam2act.policies.checkpoint import load_policy

AGENT = "image_size 21 channels 4 feature_dim 8 hidden_dim 16 shift 1"
FLAGS = ["--backend", "catch", "--task", "middle", "--mvt_cfg_opts", AGENT]
SHORT = [*("--frames", "96"), *("--seed-frames", "24"), *("--explore-frames", "24")]
SHORT += ["--batch", "4", "--capacity", "200", "--evaluate-every", "48", "--episodes", "2"]


@pytest.fixture(autouse=True)
def catch() -> Iterator[None]:
    with ENVS.temporarily(catch="tests.training.online.catch"):
        yield


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_training_learns_evaluates_saves_and_goes_on(tmp_path: Path) -> None:
    command = [*FLAGS, *SHORT, "--log-dir", str(tmp_path)]
    assert rl_train.main(command) == 0
    run = tmp_path / "middle_drq_v2"
    trained, evaluated = rows(run / "train.csv"), rows(run / "eval.csv")
    assert [row["frame"] for row in trained] == ["24", "48", "72", "96"]
    assert [int(row["updates"]) for row in trained] == [1, 7, 13, 19]  # every second action
    assert np.isfinite([float(row["critic_loss"]) for row in trained]).all()
    assert [row["frame"] for row in evaluated] == ["48", "96"]
    first = load_policy(run / "model_last.pth")
    assert first.step == 19 and first.policy.spec.action.rate == 10.0
    assert rl_train.main([*command, "--frames", "144"]) == 0
    assert [row["frame"] for row in rows(run / "train.csv")][4:] == ["120", "144"]
    second = load_policy(run / "model_last.pth")
    assert second.step == 31
    weights = [bundle.policy.state_dict()["actor.head.0.weight"] for bundle in (first, second)]
    assert not weights[0].equal(weights[1])


def test_the_same_seed_trains_the_same_agent(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert rl_train.main([*FLAGS, *SHORT, "--log-dir", str(tmp_path), "--name", name]) == 0
    one, two = (
        load_policy(tmp_path / f"middle_{name}" / "model_last.pth").policy.state_dict()
        for name in ("one", "two")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_masked_agent_is_trained_and_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reference goes into the run folder; evaluation masks by what the checkpoint knows."""
    picture = np.full((21, 21, 3), 60, np.uint8)
    picture[9:12, 4:7] = (250, 80, 60)
    black = np.where((picture == 60).all(-1, keepdims=True), 0, picture).astype(np.uint8)
    for name, pixels in {"dot.png": picture, "dot_masked.png": black}.items():
        Image.fromarray(pixels).save(tmp_path / name)
    masks = ["--use_SAM_g", "--original_image", str(tmp_path / "dot.png")]
    masks += ["--masked_image", str(tmp_path / "dot_masked.png"), "--match", "contrast"]
    masks += ["--features", "color", "--segmenter", "random_walk"]
    short = [*SHORT, "--frames", "48", "--evaluate-every", "0", "--log-dir", str(tmp_path)]
    assert rl_train.main([*FLAGS, *short, *masks]) == 0
    run = tmp_path / "middle_drq_v2"
    frames = np.lib.format.open_memmap(run / "replay" / "frames.npy", mode="r")
    assert (frames[:20, 0, 0] == 0).all() and (frames[:20].max((1, 2))[:, 0] == 250).all()
    (run / "references" / "camera_0.png").unlink()
    command = ["--backend", "catch", "--model_dir", str(run), "--episodes", "2"]
    assert rl_eval.main(command) == 0
    assert "middle original:" in capsys.readouterr().out
    assert rl_eval.main([*command, "--resume"]) == 0
    assert "evaluated already" in capsys.readouterr().out
    (row,) = rows(run / "returns.csv")
    assert row["episodes"] == "2" and 0 <= float(row["mean"]) <= 12


def test_wrong_flags_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*FLAGS, "--log-dir", str(tmp_path)]
    assert rl_train.main([*command, "--use_SAM_g"]) == 2
    assert "needs --original_image and --masked_image" in capsys.readouterr().err
    assert rl_train.main([*command, "--mvt_cfg_path", "configs/mvt/tiny.yaml"]) == 2
    assert rl_eval.main(["--model_dir", str(tmp_path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err
