"""DINOv2's encoder: its sizes, its files, equality with another implementation."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.core.torchvision_cpu import ensure_torchvision_importable
from sam2act.nn.encoders.dinov2 import DINO_SIZES, DinoEncoder, DinoSizes, DinoV2
from sam2act.nn.encoders.weight_forms import DEPTH_ANYTHING_V2, DINOV2, VitFile
from tests.nn.encoders.weights import images, randomise

TINY = DINO_SIZES["tiny"]
WITH_REGISTERS = DinoSizes(32, 2, 2, table_side=5, registers=3, antialias=True)
GRID = 7  # the table has 5 x 5
SIDE = GRID * TINY.patch
needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None, reason="transformers is not installed"
)


def tiny(sizes: DinoSizes = TINY, normalisation: str = "none") -> DinoEncoder:
    torch.manual_seed(0)
    encoder = DinoEncoder(sizes, normalisation).eval()
    randomise(encoder)
    return encoder


def transformers_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of transformers' models, written independently of the reader."""
    first = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "register_tokens": "embeddings.register_tokens",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    renamed = {"embeddings.mask_token": torch.zeros(1, TINY.width)}
    for name, value in state.items():
        if name in first:
            renamed[first[name]] = value
            continue
        _, index, *rest = name.split(".")
        start, leaf = f"encoder.layer.{index}", rest[-1]
        if rest[:2] == ["attn", "qkv"]:
            for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[f"{start}.attention.attention.{part}.{leaf}"] = piece
        elif rest[:2] == ["attn", "proj"]:
            renamed[f"{start}.attention.output.dense.{leaf}"] = value
        elif rest[0].startswith("ls"):
            renamed[f"{start}.layer_scale{rest[0][2:]}.lambda1"] = value
        else:
            renamed[f"{start}.{'.'.join(rest)}"] = value
    return renamed


# ------------------------------------------------------------------------------------- formulas
@needs_transformers
@torch.no_grad()
def test_tokens_equal_the_transformers_implementation(tmp_path: Path) -> None:
    ensure_torchvision_importable()
    from transformers.models.dinov2.configuration_dinov2 import Dinov2Config
    from transformers.models.dinov2.modeling_dinov2 import Dinov2Model

    config = Dinov2Config(
        hidden_size=TINY.width,
        num_hidden_layers=TINY.depth,
        num_attention_heads=TINY.heads,
        image_size=TINY.table_side * TINY.patch,
        patch_size=TINY.patch,
    )
    encoder, other = tiny(), Dinov2Model(config).eval()
    randomise(other)
    other.save_pretrained(tmp_path)
    encoder.load_pretrained("encoder_ckpt", tmp_path / "model.safetensors", DINOV2)
    expected = other(images(SIDE)).last_hidden_state
    torch.testing.assert_close(encoder.trunk(images(SIDE)), expected, atol=1e-5, rtol=1e-5)


@needs_transformers
@torch.no_grad()
def test_registers_equal_the_transformers_implementation(tmp_path: Path) -> None:
    ensure_torchvision_importable()
    from transformers.models.dinov2_with_registers.configuration_dinov2_with_registers import (
        Dinov2WithRegistersConfig,
    )
    from transformers.models.dinov2_with_registers.modeling_dinov2_with_registers import (
        Dinov2WithRegistersModel,
    )

    sizes = WITH_REGISTERS
    config = Dinov2WithRegistersConfig(
        hidden_size=sizes.width,
        num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.heads,
        image_size=sizes.table_side * sizes.patch,
        patch_size=sizes.patch,
        num_register_tokens=sizes.registers,
    )
    encoder, other = tiny(sizes), Dinov2WithRegistersModel(config).eval()
    randomise(other)
    other.save_pretrained(tmp_path)
    encoder.load_pretrained("encoder_ckpt", tmp_path / "model.safetensors", DINOV2)
    expected = other(images(SIDE)).last_hidden_state
    torch.testing.assert_close(encoder.trunk(images(SIDE)), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_features_are_the_patch_tokens_by_row_and_column() -> None:
    for sizes in (TINY, WITH_REGISTERS):
        encoder = tiny(sizes)
        pyramid, tokens = encoder(images(SIDE)), encoder.trunk(images(SIDE))
        assert pyramid.fine is None and pyramid.middle is None
        assert pyramid.coarse.shape == (2, 32, GRID, GRID)
        row, column = 2, 5
        token = tokens[:, 1 + sizes.registers + row * GRID + column]
        assert torch.equal(pyramid.coarse[:, :, row, column], token)


@torch.no_grad()
def test_positions_are_interpolated_bicubically() -> None:
    trunk = tiny().trunk
    trunk.patch_embed.proj.weight.zero_()
    trunk.patch_embed.proj.bias.zero_()
    trunk.blocks = torch.nn.ModuleList()
    trunk.norm = torch.nn.Identity()
    table = trunk.pos_embed[0, 1:].T.view(1, 32, 5, 5)
    expected = F.interpolate(table, (GRID, GRID), mode="bicubic", align_corners=False)
    assert torch.equal(trunk(images(SIDE))[0, 1:], expected[0].flatten(1).T)


@torch.no_grad()
def test_normalisation_is_that_of_imagenet() -> None:
    rgb = images(SIDE)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = tiny()((rgb - mean) / deviation).coarse
    actual = tiny(normalisation="imagenet")(rgb).coarse
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------------------------------- sizes
@pytest.mark.parametrize(
    ("name", "count"),
    [("vits14", 22_056_576), ("vitb14", 86_580_480), ("vitl14", 304_368_640)],
)
def test_number_of_parameters(name: str, count: int) -> None:
    """That of the released files, whose mask token (one vector) is not needed here."""
    with torch.device("meta"):
        trunk = DinoV2(DINO_SIZES[name])
    width = DINO_SIZES[name].width
    assert sum(parameter.numel() for parameter in trunk.parameters()) + width == count
    assert trunk.pos_embed.shape == (1, 1370, width)


def test_vit_b_as_an_encoder() -> None:
    with torch.device("meta"):
        encoder = DinoEncoder(DINO_SIZES["vitb14"])
    assert encoder.channels == (0, 0, 768) and encoder.input_size(16) == 224


# ---------------------------------------------------------------------------------------- files
def meta_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "mask_token": torch.zeros(1, TINY.width)}


def timm_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With registers, timm has no position of the class token but adds it to the token."""
    if "register_tokens" not in state:
        return dict(state)
    renamed = {name: value for name, value in state.items() if name != "register_tokens"}
    renamed["reg_token"] = state["register_tokens"]
    renamed["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
    renamed["pos_embed"] = state["pos_embed"][:, 1:]
    return renamed


def depth_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    head = {"depth_head.projects.0.weight": torch.ones(2)}
    return {**{f"pretrained.{name}": value for name, value in meta_form(state).items()}, **head}


def depth_transformers_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    others = {"neck.fusion_stage.x": torch.ones(2), "head.conv1.weight": torch.ones(2)}
    return {**{f"backbone.{n}": v for n, v in transformers_form(state).items()}, **others}


def second_transformers_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the module itself names them in version 5."""
    parts = {"attention.query": "q_proj", "attention.key": "k_proj", "attention.value": "v_proj"}
    renamed = transformers_form(state)
    for old, new in (*parts.items(), ("output.dense", "o_proj")):
        renamed = {name.replace(old, new): value for name, value in renamed.items()}
    return renamed


def classifier_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    others = {"classifier.weight": torch.ones(2)}
    return {**{f"dinov2.{n}": v for n, v in transformers_form(state).items()}, **others}


@pytest.mark.parametrize("sizes", [TINY, WITH_REGISTERS])
@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (meta_form, DINOV2),
        (timm_form, DINOV2),
        (transformers_form, DINOV2),
        (second_transformers_form, DINOV2),
        (classifier_form, DINOV2),
        (depth_form, DEPTH_ANYTHING_V2),
        (depth_transformers_form, DEPTH_ANYTHING_V2),
    ],
)
@torch.no_grad()
def test_all_public_forms_give_the_same_features(
    tmp_path: Path, form, kind: VitFile, sizes: DinoSizes
) -> None:
    source = tiny(sizes)
    state = {name: value.clone() for name, value in form(source.trunk.state_dict()).items()}
    for path, save in ((tmp_path / "a.pth", torch.save), (tmp_path / "a.safetensors", save_file)):
        save(state, path)
        encoder = DinoEncoder(sizes, "none").eval()
        encoder.load_pretrained("encoder_ckpt", path, kind)
        assert torch.equal(encoder(images(SIDE)).coarse, source(images(SIDE)).coarse)


@pytest.mark.parametrize(
    ("form", "kind", "said"),
    [
        (depth_form, DINOV2, "no file of DINOv2 \\(it is one of Depth Anything V2\\)"),
        (meta_form, DEPTH_ANYTHING_V2, "no file of Depth Anything V2 \\(it is one of DINOv2\\)"),
        (lambda s: {**s, "register_tokens": torch.ones(1, 4, 32)}, DINOV2, "1 unexpected"),
        (lambda s: {n: v for n, v in s.items() if n[:5] != "norm."}, DINOV2, "missing: norm.bias"),
        (lambda s: torch.ones(3), DINOV2, "holds no named tensors but Tensor"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, form, kind: VitFile, said: str) -> None:
    path = tmp_path / "dino.pth"
    torch.save(form(tiny().trunk.state_dict()), path)
    with pytest.raises(ConfigError, match=said) as caught:
        DinoEncoder(TINY).load_pretrained("encoder_ckpt", path, kind)
    assert str(caught.value).startswith("encoder_ckpt: ")


# ----------------------------------------------------------------------------------------- LoRA
def test_lora_starts_as_the_identity_and_trains_alone() -> None:
    encoder = tiny()
    before = encoder(images(SIDE)).coarse.detach()
    encoder.requires_grad_(False)
    encoder.insert_lora(rank=16)
    output = encoder(images(SIDE)).coarse
    assert torch.equal(output, before)
    output.sum().backward()
    trained = [p for p in encoder.parameters() if p.grad is not None]
    assert sum(p.numel() for p in trained) == 2 * 2 * 2 * 16 * 32  # blocks, q and v, A and B
