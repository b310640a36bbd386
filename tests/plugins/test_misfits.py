"""A policy that does not fit the data or the environment is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.commands import evaluation, python, sam2act, write_configs

DRIVER = Path(__file__).parent / "try_misfits.py"
# Kind of misfit: keys of the policy, task, and what the message says of both sides, where GIVER
# stands for "data gives" or "environment gives", TAKER for "data holds" or "environment takes".
MISFITS = {
    "camera": ("camera: side", "reach_goal", "policy wants camera side, GIVER top"),
    "depth": ("depth: true", "reach_goal", "policy wants depth of top, GIVER rgb only"),
    "image size": (
        *("side: 96", "reach_goal"),
        "policy wants 96 x 96 pixels of top, GIVER 64 x 64",
    ),
    "state": ("state: joints", "reach_goal", "policy wants state joints, GIVER xy"),
    "action mode": ("mode: hop", "reach_goal", "policy gives actions of mode hop, TAKER raw"),
    "action units": (
        *("unit: mm", "reach_goal"),
        "policy gives step of 2 (mm in the world frame) in raw, TAKER step of 2 (m in the world "
        "frame)",
    ),
    "rate": ("rate: 25", "reach_goal", "policy acts at 25 Hz, TAKER 10 Hz"),
    "history": (
        *("rate: null\noffsets: [-1, 0]", "reach_by_motions"),
        "policy wants a history of frames (-1, 0), GIVER one frame per raw",
    ),
    "language": (
        *("language: true", "reach_silently"),
        "policy wants an instruction, GIVER none",
    ),
    "episode length": (
        *("time: true\nepisode_length: 12", "reach_goal"),
        "policy knows the time of 12 steps, SIDE has episodes of 20",
    ),
}


def expected(message: str, side: str) -> str:
    """The message about `side`, which is data or environment."""
    takes = "takes" if side == "environment" else "holds"
    parts = {"GIVER": f"{side} gives", "TAKER": f"{side} {takes}", "SIDE": side}
    for name, text in parts.items():
        message = message.replace(name, text)
    return message


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Command and kind of misfit -> its status, its text and the files it wrote."""
    folder = tmp_path_factory.mktemp("misfits")
    train = write_configs(folder, epochs=1)
    sam2act(folder, "train", *train, "--exp-cfg-opts", "train_iter 16 validation.demo 0")
    commands = {}
    for kind, (keys, task, _) in MISFITS.items():
        file = f"{kind.replace(' ', '_')}.yaml"
        (folder / file).write_text(f"policy: chunker\nwidth: 32\n{keys}\n")
        name = file.removesuffix(".yaml")
        opts = f"exp_name {name} tasks {task} store_folder {name}"
        commands[f"train {kind}"] = [
            *("train", "--exp-cfg-path", "run.yaml", "--mvt-cfg-path", file),
            *("--exp-cfg-opts", opts, "--log-dir", "runs", "--device", "cpu"),
        ]
        commands[f"eval {kind}"] = ["eval", *evaluation(task), "--mvt-cfg-path", file]
    done = python(folder, str(DRIVER), json.dumps(commands))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", MISFITS)
@pytest.mark.parametrize("command", ["train", "eval"])
def test_misfit_is_refused_with_both_sides(
    outcomes: dict[str, Any], command: str, kind: str
) -> None:
    found = outcomes[f"{command} {kind}"]
    side = "data" if command == "train" else "environment"
    assert expected(MISFITS[kind][2], side) in found["text"]
    assert (found["status"], found["written"]) == (2, [])
    assert "Traceback" not in found["text"]
