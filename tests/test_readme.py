"""README is short and leads to every page; the table of quirks names what exists."""

from __future__ import annotations

import re

from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.core.assets import ASSETS
from tests.doc_pages import DOCS, PAGES, README, REPOSITORY, links, text_of

QUIRKS = text_of(REPOSITORY / "docs" / "quirks.md")
MOST_BYTES = 9_000


def flat_keys(values: dict, prefix: str = "") -> set[str]:
    """Names of all keys of a configuration, nested ones with dots."""
    keys = set()
    for name, value in values.items():
        keys |= {f"{prefix}{name}"}
        if isinstance(value, dict):
            keys |= flat_keys(value, f"{prefix}{name}.")
    return keys


def network_keys() -> set[str]:
    """The keys of all networks, and arguments of CogACT's published calls."""
    names = ("sam2act", "rvt", "rvt2", "sam_e", "tiny_cogact", "uva_pusht")
    keys = {"ensemble_space", "token_size", "model.gripper_dim", "model.autocast", "use_ddim"}
    return keys.union(
        *(flat_keys(to_dict(load_network(f"configs/mvt/{name}.yaml"))) for name in names)
    )


def quirk_table() -> str:
    start = QUIRKS.index("| published behaviour")
    return QUIRKS[start:].partition("\n\n")[0]


def test_readme_is_short() -> None:
    assert README.stat().st_size <= MOST_BYTES


def test_every_page_is_one_click_away() -> None:
    linked = {(README.parent / file).resolve() for file, _ in links(text_of(README)) if file}
    assert {*DOCS, *PAGES} - {README} <= linked


def test_named_assets_exist() -> None:
    texts = " ".join(text_of(path) for path in PAGES)
    named = re.findall(r"sam2act assets ([a-z0-9 -]+)", texts)
    words = {word for names in named for word in names.split() if word != "--list"}
    assert words and words <= {asset.name for asset in ASSETS}


def test_options_of_the_quirk_table_exist() -> None:
    known = flat_keys(to_dict(load_experiment("configs/sam2act.yaml")))
    known |= network_keys()
    cells = [line.split("|")[3] for line in quirk_table().splitlines()]
    options = re.findall(r"`([\w.]+)(?:[:` ])", " ".join(cells[2:]))
    values = {"pretrained_frozen", "shared_draws", "same_trans_aug_per_seq"}
    values |= {"CogACTInference"}
    assert len(options) > 20 and set(options) - values <= known


def test_corrected_presets_turn_on_what_the_quirk_table_says() -> None:
    bold = re.findall(r"\*\*`([\w.]+): ([\w.-]+)`\*\*", quirk_table())
    assert len(bold) > 15
    experiment = to_dict(load_experiment("configs/sam2act_plus_corrected.yaml"))
    network = to_dict(load_network("configs/mvt/sam2act_plus_corrected.yaml"))
    for key, value in bold:
        section, _, name = key.rpartition(".")
        values = experiment[section] if section else network
        assert str(values[name]) == value or float(values[name]) == float(value), key
