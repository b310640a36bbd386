"""The keys and presets that docs/training.md, data.md, reliability.md and quirks.md name exist."""

from __future__ import annotations

import re

from sam2act.config.load import load_experiment, to_dict
from tests.places import REPOSITORY
from tests.test_readme import flat_keys, network_keys

PAGES = ("training", "data", "reliability", "quirks")
TEXT = "\n".join((REPOSITORY / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES)


def test_named_keys_exist() -> None:
    known = flat_keys(to_dict(load_experiment("configs/sam2act.yaml")))
    known |= network_keys()
    named = re.findall(r"`([a-z]+[_.][\w.]+)[: ][^`]*`", TEXT)
    released = {"same_trans_aug_per_seq"}
    assert len(named) > 10 and set(named) - known == released


def test_every_preset_is_named() -> None:
    presets = [p.stem for p in (REPOSITORY / "configs").glob("sam2act*.yaml")]
    assert presets and all(name.removesuffix("_corrected") in TEXT for name in presets)
