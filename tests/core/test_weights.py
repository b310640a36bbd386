"""Weight files are found by one rule, and a message says where from and how to get them."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sam2act.config.experiment import LanguageConfig
from sam2act.config.load import changed, dump, load_experiment, load_network, to_dict
from sam2act.core import weights
from sam2act.core.assets import ASSETS
from sam2act.core.errors import ConfigError
from sam2act.core.weights import find_weights, places
from sam2act.language.text_encoder import ClipTextEncoder, LanguageError, build_text_encoder
from tests.places import REPOSITORY

NAME = "sam2.1_hiera_base_plus.pt"
RELEASED = f"./mvt/sam2_train/checkpoints/{NAME}"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the checkout, without SAM2ACT_ASSETS; the working directory lies outside."""
    root = tmp_path / "checkout"
    for folder in (root / "scripts", root / "sam2act", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    (root / "scripts" / "download_assets.py").touch()
    monkeypatch.setattr(weights, "checkout", lambda: root)
    monkeypatch.delenv(weights.ASSETS_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def find(named: str = RELEASED) -> Path:
    return find_weights("sam2_ckpt", named, "do without")


def test_places_in_order(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place counts once the ones before it are empty."""
    monkeypatch.setenv(weights.ASSETS_VARIABLE, str(tmp_path / "mine"))
    yaml_file = put(tmp_path / "configs" / "network.yaml")
    named = load_network_named(yaml_file, RELEASED)
    expected = [
        tmp_path / "elsewhere" / RELEASED,
        tmp_path / "configs" / RELEASED,
        tmp_path / "mine" / NAME,
        root / "assets" / NAME,
        tmp_path / "elsewhere" / "assets" / NAME,
    ]
    assert places(named) == [Path(os.path.abspath(path)) for path in expected]
    for place in expected:
        put(place)
    for place in expected:
        assert find(named).samefile(place)
        place.unlink()
    with pytest.raises(ConfigError) as caught:
        find(named)
    assert all(os.path.abspath(place) in str(caught.value) for place in expected)


def load_network_named(yaml_file: Path, value: str) -> str:
    preset = (REPOSITORY / "configs" / "mvt" / "sam2act.yaml").read_text()
    yaml_file.write_text(f"{preset}\nsam2_ckpt: {value}\n")
    return load_network(yaml_file).sam2_ckpt


@pytest.mark.parametrize("folder", ["checkout", "checkout/sam2act", "elsewhere"])
@pytest.mark.parametrize("named", [NAME, RELEASED, f"/absent/{NAME}", f"assets/{NAME}"])
def test_assets_of_the_checkout_are_found_from_anywhere(
    root: Path, monkeypatch: pytest.MonkeyPatch, folder: str, named: str
) -> None:
    file = put(root / "assets" / NAME)
    monkeypatch.chdir(root.parent / folder)
    assert find(named) == file


def test_path_beside_the_yaml_survives_dumps_and_other_folders(root: Path, tmp_path: Path) -> None:
    file = put(tmp_path / "configs" / "w" / "own.pt")
    config = load_network("configs/mvt/sam2act.yaml")
    named = load_network_named(tmp_path / "configs" / "n.yaml", "w/own.pt")
    config = dataclasses.replace(config, sam2_ckpt=named)
    copy = put(tmp_path / "runs" / "mvt_cfg.yaml")
    copy.write_text(dump(config))
    for value in (named, load_network(copy).sam2_ckpt, changed(config, "depth 8").sam2_ckpt):
        assert find(value).samefile(file)
    assert type(to_dict(config)["sam2_ckpt"]) is str


def test_message_says_what_is_a_folder(root: Path) -> None:
    (root / "assets" / NAME).mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"assets/{NAME} \(a folder\)"):
        find()


def test_name_that_no_file_system_takes_is_not_found(root: Path) -> None:
    with pytest.raises(ConfigError, match="not found"):
        find("x" * 5000)


@pytest.mark.parametrize("folder", [".", "sam2act", "tests/config"])
@pytest.mark.parametrize("variable", ["", "my weights"])
def test_command_of_the_message_works_where_the_user_stands(
    folder: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY / folder)
    expected = tmp_path / variable if variable else REPOSITORY / "assets"
    monkeypatch.setenv(weights.ASSETS_VARIABLE, str(expected) if variable else "")
    command = shlex.split(weights.how_to_get(NAME).split("`")[1])
    assert command[0] == "python" and command[2:4] == ["sam2-base-plus", "--output"]
    assert Path(command[4]).resolve() == expected.resolve()
    assert Path(command[4], NAME).resolve() in places(RELEASED)
    done = subprocess.run(
        [sys.executable, command[1], "--list"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "sam2-base-plus" in done.stdout


def test_without_a_checkout_the_address_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "checkout", lambda: None)
    monkeypatch.delenv(weights.ASSETS_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    url = next(asset.url for asset in ASSETS if asset.place == NAME)
    target = tmp_path / "assets" / NAME
    assert f"curl -L --create-dirs -o {target} {url}`" in weights.how_to_get(NAME)
    assert find(put(target).name) == target


def test_file_that_nobody_offers_gets_no_command(root: Path) -> None:
    with pytest.raises(ConfigError, match="No public file has this name.*RN50.pt"):
        find("own.pt")


# ------------------------------------------------------------------------------------------ CLIP
def test_clip_is_found_by_the_same_rule(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "assets").mkdir()
    (root / "assets" / "RN50.pt").write_bytes(b"weights")
    names = set()
    for folder in (root, root / "sam2act", root.parent / "elsewhere"):
        monkeypatch.chdir(folder)
        for path in ("", "RN50.pt", "/absent/RN50.pt"):
            names.add(build_text_encoder(LanguageConfig(weights_path=path), 77, 512).name)
    assert len(names) == 1


def test_clip_beside_its_yaml(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "configs" / "clip" / "own.pt")
    yaml_file = put(tmp_path / "configs" / "e.yaml")
    yaml_file.write_text("language: {weights_path: clip/own.pt}\n")
    assert build_text_encoder(load_experiment(yaml_file).language, 77, 512).name


def test_missing_clip_lists_places_and_remedies(root: Path) -> None:
    with pytest.raises(LanguageError) as caught:
        ClipTextEncoder("RN50.pt").encode(["open the drawer"])
    for part in (str(root / "assets" / "RN50.pt"), "clip-rn50", "language.encoder to hashed"):
        assert part in str(caught.value)
