"""What README says can be run is run; what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.core.assets import ASSETS

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()


def flat_keys(values: dict, prefix: str = "") -> set[str]:
    keys = set()
    for name, value in values.items():
        keys |= {f"{prefix}{name}"}
        if isinstance(value, dict):
            keys |= flat_keys(value, f"{prefix}{name}.")
    return keys


def run_example(start: str) -> dict:
    """What the Python example that contains `start` leaves behind."""
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (example,) = [text for text in examples if start in text]
    names: dict = {}
    exec(example, names)
    return names


def test_python_example_gives_an_action() -> None:
    names = run_example("KeyframePolicy(")
    assert names["position"].shape == (3,) and names["quaternion_xyzw"].norm() == pytest.approx(1)


def test_simulator_example_moves_the_arm() -> None:
    names = run_example("make_env(")
    position = names["result"].observation.gripper_pose[:3]
    assert position == pytest.approx([0.25, 0.0, 0.9], abs=0.003)


def test_named_files_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    commands = re.findall(
        r"(?<![\w/])(?:scripts|configs|sam2act|requirements|docs)/[\w./-]+\w", README
    )
    missing = [name for name in {*links, *commands} if not (REPOSITORY / name).exists()]
    assert missing == []


def test_named_assets_exist() -> None:
    named = re.findall(r"download_assets\.py ([a-z0-9-]+)", README)
    assert named and set(named) <= {asset.name for asset in ASSETS} | {"--list"}


def test_options_of_the_quirk_table_exist() -> None:
    known = flat_keys(to_dict(load_experiment("configs/sam2act.yaml")))
    known |= flat_keys(to_dict(load_network("configs/mvt/sam2act.yaml")))
    table = README.split("## Quirks")[1].split("## Citation")[0]
    cells = [line.split("|")[3] for line in table.splitlines() if line.startswith("|")]
    options = re.findall(r"`([\w.]+)(?:[:` ])", " ".join(cells[2:]))
    values = {"pretrained_frozen", "shared_draws", "same_trans_aug_per_seq"}
    assert len(options) > 20 and set(options) - values <= known


def test_corrected_presets_turn_on_what_the_quirk_table_says() -> None:
    table = README.split("## Quirks")[1].split("## Citation")[0]
    bold = re.findall(r"\*\*`([\w.]+): ([\w.-]+)`\*\*", table)
    assert len(bold) > 15
    experiment = to_dict(load_experiment("configs/sam2act_plus_corrected.yaml"))
    network = to_dict(load_network("configs/mvt/sam2act_plus_corrected.yaml"))
    for key, value in bold:
        section, _, name = key.rpartition(".")
        values = experiment[section] if section else network
        assert str(values[name]) == value or float(values[name]) == float(value), key
