"""Encoder sizes: the published ones by name, others from an original SAM2 yaml."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sam2act.core.errors import ConfigError
from sam2act.nn.sam2_sizes import BUILT_IN_SIZES, hiera_sizes

needs_hydra = pytest.mark.skipif(
    find_spec("hydra") is None, reason="hydra is not installed (extra hydra)"
)
# In the form of the published files: every class is a `_target_` of a package that is not needed
# here, and what equals the constructor's default is left out.
SAM2_YAML = """\
# @package _global_
model:
  _target_: sam2.modeling.sam2_base.SAM2Base
  image_encoder:
    _target_: sam2.modeling.backbones.image_encoder.ImageEncoder
    scalp: 1
    trunk:
      _target_: sam2.modeling.backbones.hieradet.Hiera
{trunk}
    neck:
      _target_: sam2.modeling.backbones.image_encoder.FpnNeck
      position_encoding:
        _target_: sam2.modeling.position_encoding.PositionEmbeddingSine
        num_pos_feats: 256
        normalize: true
        scale: null
        temperature: 10000
      d_model: {width}
      backbone_channel_list: [896, 448, 224, 112]
      fpn_top_down_levels: [2, 3]
      fpn_interp_model: nearest
  num_maskmem: 7
  image_size: 1024
"""
TRUNKS = {
    "b+": {"embed_dim": 112, "num_heads": 2},
    "t": {
        "embed_dim": 96,
        "num_heads": 1,
        "stages": [1, 2, 7, 2],
        "global_att_blocks": [5, 7, 9],
        "window_pos_embed_bkg_spatial_size": [7, 7],
    },
    "l": {
        "embed_dim": 144,
        "num_heads": 2,
        "stages": [2, 6, 36, 4],
        "global_att_blocks": [23, 33, 43],
        "window_pos_embed_bkg_spatial_size": [7, 7],
        "window_spec": [8, 4, 16, 8],
    },
}


def write_yaml(folder: Path, size: str, width: int = 256) -> Path:
    path = folder / "own_encoder.yaml"
    trunk = "\n".join(f"      {key}: {value}" for key, value in TRUNKS[size].items())
    path.write_text(SAM2_YAML.format(trunk=trunk, width=width))
    return path


@pytest.mark.parametrize("size", BUILT_IN_SIZES)
@pytest.mark.parametrize("form", ["configs/sam2.1/sam2.1_hiera_{}.yaml", "sam2.1_hiera_{}", "{}"])
def test_published_names_need_no_file(size: str, form: str) -> None:
    assert hiera_sizes(form.format(size)) == BUILT_IN_SIZES[size]


def test_published_sizes_are_consistent() -> None:
    for sizes in BUILT_IN_SIZES.values():
        assert len(sizes.stages) == len(sizes.window_spec) == 4
        ends = [sum(sizes.stages[: i + 1]) for i in range(4)]
        assert all(ends[1] < block < ends[2] for block in sizes.global_att_blocks)
        assert sizes.stage_widths == tuple(sizes.embed_dim * factor for factor in (1, 2, 4, 8))


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"sam2_config.*sam2\.1_hiera_x.*t,s,b\+,l"):
        hiera_sizes("configs/sam2.1/sam2.1_hiera_x.yaml")


@needs_hydra
@pytest.mark.parametrize("size", TRUNKS)
def test_original_yaml_gives_the_built_in_sizes(tmp_path: Path, size: str) -> None:
    assert hiera_sizes(str(write_yaml(tmp_path, size))) == BUILT_IN_SIZES[size]


@needs_hydra
def test_yaml_sets_the_neck_width_and_leaves_hydra_alone(tmp_path: Path) -> None:
    from hydra.core.global_hydra import GlobalHydra

    assert hiera_sizes(str(write_yaml(tmp_path, "t", width=64))).neck_width == 64
    assert not GlobalHydra.instance().is_initialized()
    assert "sam2" not in sys.modules  # the classes that the file names are never imported


@needs_hydra
def test_yaml_without_an_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("model:\n  depth: 3\n")
    with pytest.raises(ConfigError, match=r"other\.yaml has no model\.image_encoder\.trunk"):
        hiera_sizes(str(path))


@needs_hydra
def test_yaml_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = write_yaml(tmp_path, "t")
    path.write_text(path.read_text().replace("num_heads: 1", "num_heads: 1\n      q_pool: 2"))
    with pytest.raises(ConfigError, match=r"own_encoder\.yaml sets q_pool"):
        hiera_sizes(str(path))


@needs_hydra
def test_absent_keys_take_the_defaults_of_the_original_class(tmp_path: Path) -> None:
    path = write_yaml(tmp_path, "t")
    lines = [line for line in path.read_text().splitlines() if "embed_dim:" not in line]
    path.write_text("\n".join(lines))
    assert hiera_sizes(str(path)) == BUILT_IN_SIZES["t"]


def test_yaml_without_hydra_names_the_extra(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra.utils", None)
    monkeypatch.setitem(sys.modules, "hydra", None)
    with pytest.raises(ConfigError, match=r"sam2_config.*own_encoder\.yaml.*extra hydra"):
        hiera_sizes(str(write_yaml(tmp_path, "b+")))


@needs_hydra
def test_released_name_is_a_name_even_where_such_a_file_lies(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "configs" / "sam2.1"
    folder.mkdir(parents=True)
    write_yaml(folder, "t", width=64).rename(folder / "sam2.1_hiera_b+.yaml")
    monkeypatch.chdir(tmp_path)
    name = "configs/sam2.1/sam2.1_hiera_b+.yaml"
    assert hiera_sizes(name) == BUILT_IN_SIZES["b+"]
    assert hiera_sizes(str(tmp_path / name)).neck_width == 64, "a path is read"
    assert hiera_sizes(f"/absent/{name}") == hiera_sizes(f"./mvt/{name}") == BUILT_IN_SIZES["b+"]


@needs_hydra
@pytest.mark.parametrize("content", [b"model: [1\n", "# données\n".encode("latin-1")])
def test_yaml_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.yaml cannot be read") as caught:
        hiera_sizes(str(path))
    assert "\n" not in str(caught.value)
