"""A policy as a folder of a hub, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sam2act.cli.main import main
from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import (
    CheckpointError,
    PolicyBundle,
    build_policy,
    config_extra,
    load_policy,
    save_checkpoint,
)
from sam2act.policies.hub_folder import LEROBOT_TYPE, WEIGHTS

FILES = {WEIGHTS, "config.json", "README.md", "policy_preprocessor.json"}
FILES |= {"policy_postprocessor.json"}


@pytest.fixture(scope="module")
def bundle() -> PolicyBundle:
    experiment = load_experiment("configs/tiny_plus.yaml", "image_size 32 tasks [put_block_back]")
    return build_policy(experiment, load_network("configs/mvt/tiny_plus.yaml"), seed=5)


@pytest.fixture(scope="module")
def folder(bundle: PolicyBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hub")
    extra = config_extra(bundle) | {"stage": 2, "step": 7}
    content = {"epoch": 0, "model_state": bundle.model_state(), "extra": extra}
    save_checkpoint(place / "model_plus_last.pth", content)
    argv = ["export", str(place / "model_plus_last.pth"), "--output", str(place / "hub")]
    assert main([*argv, "--license", "mit"]) == 0
    return place / "hub"


@pytest.mark.parametrize("name", ["", WEIGHTS])
def test_policy_comes_back_to_the_last_bit(folder: Path, bundle: PolicyBundle, name: str) -> None:
    again = load_policy(folder / name)
    assert (again.experiment, again.network) == (bundle.experiment, bundle.network)
    assert (again.stage, again.step) == (2, 7)
    before, after = bundle.model_state(), again.model_state()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_folder_holds_what_lerobot_reads(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES
    config = json.loads((folder / "config.json").read_text())
    assert config["type"] == LEROBOT_TYPE
    assert config["input_features"]["observation.images.wrist"] == {
        "type": "VISUAL",
        "shape": [3, 32, 32],
    }
    assert config["output_features"] == {"action": {"type": "ACTION", "shape": [9]}}
    steps = json.loads((folder / "policy_preprocessor.json").read_text())["steps"]
    assert {"rename_observations_processor", "device_processor"} <= {
        step["registry_name"] for step in steps
    }


def test_card_says_what_the_policy_is(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: lerobot\npipeline_tag: robotics\nlicense: mit\n")
    for text in ("| trained on | put_block_back |", "wrist 32x32 with depth", "keyframe_pose"):
        assert text in card


def test_nothing_is_replaced_unasked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["export", str(folder), "--output", str(folder)]
    assert main(argv) == 2
    assert "holds model.safetensors, config.json, README.md; --force" in capsys.readouterr().err
    assert main([*argv, "--force"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "act"}, "its policy is of type 'act', not 'sam2act'"),
        ({"network": None}, "network missing; export the policy again"),
        (None, "config.json: no JSON"),
    ],
)
def test_folders_of_other_policies_are_named(
    folder: Path, tmp_path: Path, change: dict[str, str] | None, message: str
) -> None:
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    config = json.loads((folder / "config.json").read_text()) | (change or {})
    kept = {key: value for key, value in config.items() if value is not None or key == "step"}
    (tmp_path / "config.json").write_text(json.dumps(kept) if change else "{")
    with pytest.raises(CheckpointError, match=message):
        load_policy(tmp_path)
