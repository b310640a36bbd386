"""What docs/training.md names exists."""

from __future__ import annotations

import re
from pathlib import Path

from sam2act.config.load import load_experiment, load_network, to_dict
from tests.test_readme import flat_keys

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")


def test_named_files_exist() -> None:
    named = re.findall(r"(?:scripts|configs)/[\w./-]+\.(?:py|yaml)", TEXT)
    absent = [name for name in named if not (REPOSITORY / name).exists()]
    assert len(named) > 10 and absent == []


def test_named_keys_exist() -> None:
    known = flat_keys(to_dict(load_experiment("configs/sam2act.yaml")))
    known |= flat_keys(to_dict(load_network("configs/mvt/sam2act.yaml")))
    named = re.findall(r"`([a-z]+[_.][\w.]+)[: ][^`]*`", TEXT)
    assert len(named) > 10 and set(named) - known == set()


def test_every_preset_is_named() -> None:
    presets = [p.stem for p in (REPOSITORY / "configs").glob("sam2act*.yaml")]
    assert presets and all(name.removesuffix("_corrected") in TEXT for name in presets)
