"""A policy, a source and an environment of somebody else, through the ordinary commands.

None of them is known to the package: they lie in `dummy_plugins/`, a distribution of its own.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from tests.plugins.commands import evaluation, python, sam2act, write_configs

CHUNKS = ("--executor", "open_loop(k=4)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained and evaluated run."""
    place = tmp_path_factory.mktemp("plugins")
    sam2act(place, "train", *write_configs(place))
    sam2act(place, "eval", *evaluation(), *CHUNKS)
    return place


def rows(folder: Path, log_name: str) -> list[dict[str, str]]:
    """The finished episodes of an evaluation."""
    (path,) = folder.glob(f"runs/*/eval/{log_name}/model_last/episodes.csv")
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The weights of the last checkpoint of a run."""
    path = folder / "runs" / f"reach_{name}" / "model_last.pth"
    content = torch.load(path, weights_only=True)
    assert content["extra"]["step"] == 80
    return content["model_state"]


# ---------------------------------------------------------------------------------- training
def test_training_lowers_the_loss_and_its_terms_are_logged(folder: Path) -> None:
    with open(folder / "runs/reach_run/metrics.csv", newline="") as stream:
        logged = list(csv.DictReader(stream))
    first, last = logged[0], [row for row in logged if row["total_loss"]][-1]
    assert float(last["step_error"]) == float(last["total_loss"]) < 0.5 * float(first["total_loss"])
    held_out = [row["validation_step_error"] for row in logged if row["validation_step_error"]]
    assert len(held_out) == 2  # one per epoch


def test_resumed_training_equals_an_uninterrupted_one(folder: Path) -> None:
    sam2act(folder, "train", *write_configs(folder, "again", epochs=1))
    sam2act(folder, "train", *write_configs(folder, "again", epochs=2))
    one, two = weights(folder, "run"), weights(folder, "again")
    assert one.keys() == two.keys() and len(one) == 4
    assert all(torch.equal(one[name], two[name]) for name in one)


# -------------------------------------------------------------------------------- evaluation
def test_trained_policy_reaches_its_goals(folder: Path) -> None:
    found = rows(folder, "reach_goal")
    assert len(found) == 10
    assert sum(int(row["success"]) for row in found) >= 8
    assert {row["instruction"] for row in found} == {"reach the green goal"}
    for row in found:
        assert (float(row["reward"]) >= 95) == (row["success"] == "1")  # graded
        assert int(row["steps"]) <= 20  # what the environment says of its episodes
    description = json.loads(
        next(folder.glob("runs/*/eval/reach_goal/model_last/evaluation.json")).read_text()
    )
    assert description["settings"]["backend"] == "reach"
    assert description["settings"]["executor"] == "open_loop(k=4)"
    assert description["checkpoint"]["policy"] == "chunker"


def test_transforms_serve_training_and_acting(folder: Path) -> None:
    """The policy sees 32 pixels and learns scaled steps; the camera gives 48 pixels and metres."""
    transforms = '["resize(36)", "crop(32)", "normalise_actions(\'mean_std\')"]'
    train = write_configs(folder, "changed", transforms=transforms)
    opts = ("--exp-cfg-opts", "image_size 48 store_folder store48", "--mvt-cfg-opts", "scale 1.0")
    sam2act(folder, "train", *train, *opts)
    path = folder / "runs/reach_changed/model_last.pth"
    stored = torch.load(path, weights_only=True)["extra"]["transforms"]
    assert stored["texts"] == ["resize(36)", "crop(32)", "normalise_actions('mean_std')"]
    assert stored["statistics"][2]["scale"].shape == (2,)
    assert (stored["statistics"][2]["scale"] < 0.1).all()  # metres
    sam2act(folder, "eval", *evaluation(name="changed"), "--log-name", "changed", *CHUNKS)
    assert sum(int(row["success"]) for row in rows(folder, "changed")) >= 6


# -------------------------------------------------------------------------- report and doctor
def test_report_names_policy_task_simulator_and_success(folder: Path) -> None:
    done = sam2act(folder, "report", "runs/reach_run")
    successes = sum(int(row["success"]) for row in rows(folder, "reach_goal"))
    assert f"reach_goal in reach: successful episodes chunker {successes} of 10" in done.stdout
    page = (folder / "runs/reach_run/report.html").read_text()
    for text in ("reach_goal", "Simulator: reach, a plug-in.", "chunker, stage 1", "mean reward"):
        assert text in page
    assert "Terms of the loss" in page and ">step error<" in page
    assert "differences from the defaults" in page and "memory is learned" not in page


def test_doctor_lists_them(folder: Path) -> None:
    report = json.loads(sam2act(folder, "doctor", "--json").stdout)
    found = {
        kind: {item["name"]: (item["state"], item["detail"]) for item in items}
        for kind, items in report["components"].items()
    }
    assert found["plug-ins"]["reach"] == ("ok", "dummy-plugins 0.1")
    assert found["policies"]["chunker"] == ("ok", "reach.policy:Chunker")
    assert found["sources"]["reach_source"] == ("ok", "reach.source:ReachSource")
    assert found["simulators"]["reach"] == ("ok", "reach.env")
    assert "sam2act" in found["policies"] and "embedded" in found["simulators"]


def test_without_the_distribution_the_names_are_unknown(folder: Path) -> None:
    code = "import sys; sys.path[:] = [p for p in sys.path if 'dummy_plugins' not in p]\n"
    code += "from sam2act.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = python(folder, "-c", code, "train", *write_configs(folder))
    assert done.returncode == 2
    assert "source: 'reach_source' is not one of rlbench" in done.stderr
