"""Yaml files that build upon others (`base: other.yaml`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.config.load import keys_of, load_experiment, load_network
from sam2act.core.errors import ConfigError


def write(folder: Path, **contents: str) -> Path:
    """Write `NAME.yaml` files; the first one's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(contents))}.yaml"


def test_a_file_changes_single_keys_of_its_base(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        top="base: middle.yaml\nbs: 4\nrvt:\n  img_aug: 0.2\n",
        middle="base: low.yaml\nepochs: 7\nbs: 3\n",
        low="epochs: 5\nseed: 9\nrvt:\n  img_aug: 0.1\n  gt_hm_sigma: 2\n",
    )
    config = load_experiment(path)
    assert (config.bs, config.epochs, config.seed) == (4, 7, 9)
    assert (config.rvt.img_aug, config.rvt.gt_hm_sigma) == (0.2, 2.0)
    assert keys_of(path) == {"bs", "epochs", "seed", "rvt.img_aug", "rvt.gt_hm_sigma"}
    assert load_experiment(path, "bs 5").bs == 5


def test_a_base_is_found_like_any_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "mine", net="base: configs/mvt/tiny.yaml\nnum_rot: 36\n")
    config = load_network(path)
    assert config.num_rot == 36 and config.feat_dim == 3 * 36 + 4
    assert config.encoder == "tiny_conv" and config.renderer.radius == 0.047


def test_the_file_beside_it_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "mine", top="base: tiny.yaml\n", tiny="bs: 6\n")
    write(tmp_path, tiny="bs: 12\n")
    monkeypatch.chdir(tmp_path)
    assert load_experiment(path).bs == 6


def test_weights_are_found_beside_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path / "weights", low="language:\n  weights_path: clip.pt\n")
    (tmp_path / "weights" / "clip.pt").write_bytes(b"")
    path = write(tmp_path / "mine", top="base: ../weights/low.yaml\n")
    found = Path(load_experiment(path).language.weights_path)
    assert found.samefile(tmp_path / "weights" / "clip.pt")
    instead = load_experiment(path, "language.weights_path other.pt")
    assert instead.language.weights_path == "other.pt"


def test_weights_that_a_file_names_can_be_replaced_by_an_option(tmp_path: Path) -> None:
    path = write(tmp_path, top="sam2_ckpt: absent.pt\n")
    assert load_network(path).sam2_ckpt == "absent.pt"
    assert load_network(path, "sam2_ckpt other.pt").sam2_ckpt == "other.pt"


def test_task_files_build_upon_others(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        long="base: short.yaml\nnetwork:\n  num_maskmem: 9\n",
        short="experiment:\n  bs: 10\nnetwork:\n  num_maskmem: 4\n  depth: 2\n",
    )
    assert load_experiment("", "", path).bs == 10
    network = load_network("configs/mvt/sam2act.yaml", "", path)
    assert (network.num_maskmem, network.depth) == (9, 2)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "base: b.yaml\n", "b": "base: a.yaml\n"}, "b.yaml: base: .*a.yaml builds upon"),
        ({"a": "base: a.yaml\n"}, "a.yaml: base: .*builds upon this file itself"),
        ({"a": "base: absent.yaml\n"}, "a.yaml: base: neither .*absent.yaml.*looked for"),
        ({"a": "base: [b.yaml]\n", "b": ""}, "a.yaml: base: name one yaml file"),
        ({"a": "base: b.yaml\n", "b": "bss: 3\n"}, "b.yaml: unknown key bss; did you mean bs"),
        ({"a": "base: b.yaml\nbs: 3\n", "b": "bs: x\n"}, "b.yaml: bs: expected int"),
    ],
)
def test_wrong_bases_are_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment(write(tmp_path, **files))


def test_the_key_is_for_files_alone() -> None:
    with pytest.raises(ConfigError, match="unknown key base"):
        load_experiment("", "base configs/tiny.yaml")
