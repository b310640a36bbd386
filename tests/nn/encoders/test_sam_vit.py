"""SAM's image encoder: its formula, its sizes, its files, equality with another implementation."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.core.torchvision_cpu import ensure_torchvision_importable
from sam2act.nn.encoders.sam_vit import (
    SAM_VIT_SIZES,
    RelativeAttention,
    SamVitEncoder,
    resize_table,
)
from sam2act.nn.lora import adapter_parameters
from tests.nn.encoders.weights import images, randomise

TINY = SAM_VIT_SIZES["tiny"]
GRID = 9  # no multiple of the window of 7
SIDE = GRID * TINY.patch


def tiny(grid: int = GRID, normalisation: str = "none") -> SamVitEncoder:
    torch.manual_seed(0)
    encoder = SamVitEncoder(TINY, grid, normalisation).eval()
    randomise(encoder)
    return encoder


def transformers_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of transformers' SamModel, written independently of the reader."""
    renamed = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "neck":
            parts[1] = ("conv1", "layer_norm1", "conv2", "layer_norm2")[int(parts[1])]
        elif parts[0] == "blocks":
            parts[0] = "layers"
            parts[2] = parts[2].replace("norm", "layer_norm")
        elif parts[0] == "patch_embed":
            parts[1] = "projection"
        renamed["vision_encoder." + ".".join(parts)] = value
    return renamed


# ------------------------------------------------------------------------------------- formulas
@torch.no_grad()
def test_scores_gain_the_vectors_of_the_distances() -> None:
    torch.manual_seed(0)
    layer = RelativeAttention(6, heads=1, side=3)
    randomise(layer)
    x = torch.randn(1, 3, 3, 6)
    query, key, value = layer.qkv(x)[0].split(6, dim=-1)
    out = torch.empty(3, 3, 6)
    for y, x_ in ((y, x_) for y in range(3) for x_ in range(3)):
        scores = torch.empty(3, 3)
        for v, u in ((v, u) for v in range(3) for u in range(3)):
            position = layer.rel_pos_h[y - v + 2] + layer.rel_pos_w[x_ - u + 2]
            scores[v, u] = query[y, x_] @ (key[v, u] / 6**0.5 + position)
        weights = scores.flatten().softmax(0)
        out[y, x_] = weights @ value.flatten(0, 1)
    torch.testing.assert_close(layer(x)[0], layer.proj(out), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_padding_takes_part_as_zero_tokens() -> None:
    torch.manual_seed(0)
    layer = RelativeAttention(6, heads=2, side=4)
    randomise(layer)
    x = torch.randn(2, 3, 3, 6)
    padded = torch.zeros(2, 4, 4, 6)
    padded[:, :3, :3] = x
    torch.testing.assert_close(layer(x), layer(padded)[:, :3, :3], atol=1e-6, rtol=1e-5)


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
@torch.no_grad()
def test_encoder_equals_the_transformers_implementation(tmp_path: Path) -> None:
    ensure_torchvision_importable()
    from transformers.models.sam.configuration_sam import SamVisionConfig
    from transformers.models.sam.modeling_sam import SamVisionModel

    config = SamVisionConfig(
        hidden_size=TINY.width,
        output_channels=TINY.neck_width,
        num_hidden_layers=TINY.depth,
        num_attention_heads=TINY.heads,
        image_size=SIDE,
        patch_size=TINY.patch,
        window_size=TINY.window,
        global_attn_indexes=list(TINY.global_blocks),
        mlp_dim=4 * TINY.width,
    )
    encoder, other = tiny(), SamVisionModel(config).eval()
    randomise(other)
    other.save_pretrained(tmp_path)
    encoder.load_pretrained("encoder_ckpt", tmp_path / "model.safetensors")
    expected = other(images(SIDE)).last_hidden_state
    torch.testing.assert_close(encoder(images(SIDE)).coarse, expected, atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------------------------------- sizes
def test_vit_b_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        encoder = SamVitEncoder(SAM_VIT_SIZES["vit_b"], grid_size=20)
        encoder.requires_grad_(False)
        encoder.insert_lora(rank=4)
    lora = sum(parameter.numel() for parameter in adapter_parameters(encoder))
    total = sum(parameter.numel() for parameter in encoder.parameters())
    assert (total - lora, lora) == (86_787_328, 147_456)
    assert encoder.channels == (0, 0, 256)
    assert encoder.input_size(20) == 320


def test_vit_b_fits_the_names_and_shapes_of_the_released_file() -> None:
    with torch.device("meta"):
        state = SamVitEncoder(SAM_VIT_SIZES["vit_b"], grid_size=64).state_dict()
    assert sum(value.numel() for value in state.values()) == 89_670_912
    assert state["pos_embed"].shape == (1, 64, 64, 768)
    assert state["blocks.0.attn.rel_pos_h"].shape == (27, 64)
    assert state["blocks.11.attn.rel_pos_w"].shape == (127, 64)
    assert state["neck.2.weight"].shape == (256, 256, 3, 3)


@torch.no_grad()
def test_only_the_coarse_level_exists() -> None:
    pyramid = tiny()(images(SIDE))
    assert pyramid.fine is None and pyramid.middle is None
    assert pyramid.coarse.shape == (2, TINY.neck_width, GRID, GRID)


@torch.no_grad()
def test_normalisation_is_that_of_imagenet() -> None:
    rgb = images(SIDE)
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1) / 255
    deviation = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1) / 255
    expected = tiny()((rgb - mean) / deviation).coarse
    actual = tiny(normalisation="imagenet")(rgb).coarse
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_unknown_normalisation() -> None:
    with pytest.raises(ConfigError, match="normalisation: 'sam' is not one of 'none', 'imagenet'"):
        tiny(normalisation="sam")


def test_recomputing_blocks_changes_no_output_and_no_gradient() -> None:
    encoder = tiny()
    results = []
    for checkpointing in (False, True):
        encoder.checkpointing = checkpointing
        encoder.zero_grad()
        output = encoder(images(SIDE)).coarse
        output.square().sum().backward()
        results.append([output, *(parameter.grad for parameter in encoder.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# ---------------------------------------------------------------------------------------- files
def meta_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    others = {
        "prompt_encoder.no_mask_embed.weight": torch.zeros(1),
        "mask_decoder.x": torch.ones(2),
    }
    return {**{f"image_encoder.{name}": value for name, value in state.items()}, **others}


def timm_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace("mlp.lin", "mlp.fc"): value for name, value in state.items()}


@pytest.mark.parametrize("form", [meta_form, transformers_form, timm_form])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_all_public_forms_give_the_same_encoder(tmp_path: Path, form, suffix: str) -> None:
    source, path = tiny(), tmp_path / f"sam{suffix}"
    state = {name: value.clone() for name, value in form(source.state_dict()).items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    encoder = SamVitEncoder(TINY, GRID)
    encoder.load_pretrained("encoder_ckpt", path)
    assert all(
        torch.equal(value, source.state_dict()[name])
        for name, value in encoder.state_dict().items()
    )


def test_tables_of_another_grid_are_resized(tmp_path: Path) -> None:
    source, path = tiny(grid=16), tmp_path / "sam.pth"
    torch.save(meta_form(source.state_dict()), path)
    encoder = SamVitEncoder(TINY, GRID)
    encoder.load_pretrained("encoder_ckpt", path)
    assert encoder.pos_embed.shape == (1, GRID, GRID, TINY.width)
    windowed, whole = (block.attn for block in encoder.blocks)
    assert torch.equal(windowed.rel_pos_h, source.blocks[0].attn.rel_pos_h)
    assert whole.rel_pos_h.shape == (2 * GRID - 1, TINY.width // TINY.heads)
    middle = source.blocks[1].attn.rel_pos_h[15]  # distance 0 stays distance 0
    torch.testing.assert_close(whole.rel_pos_h[GRID - 1], middle)


def test_resizing_interpolates_linearly_along_every_axis() -> None:
    ramp = torch.arange(8.0)
    halved = torch.tensor([0.5, 2.5, 4.5, 6.5])
    assert torch.equal(resize_table(ramp[:, None], 4)[:, 0], halved)
    square = (10 * ramp[:, None] + ramp)[None, :, :, None]
    assert torch.equal(resize_table(square, 4)[0, :, :, 0], 10 * halved[:, None] + halved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {k: v for k, v in s.items() if "neck.0" not in k}, "1 missing: neck.0.weight"),
        (lambda s: {**s, "image_encoder.more": torch.ones(1)}, "1 unexpected: more"),
        (lambda s: {k: v[:1] for k, v in s.items()}, "another size.*mismatched"),
        (lambda s: {"cls_token": torch.ones(1)}, "no file of SAM \\(it is one of DINOv2\\)"),
        (lambda s: {"weight": torch.ones(1)}, "no file of SAM \\(no name blocks.0"),
        (lambda s: {k: v * float("nan") for k, v in s.items()}, "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change, said: str) -> None:
    path = tmp_path / "sam.pth"
    torch.save(change(meta_form(tiny().state_dict())), path)
    with pytest.raises(ConfigError, match=said) as caught:
        SamVitEncoder(TINY, GRID).load_pretrained("encoder_ckpt", path)
    assert str(caught.value).startswith("encoder_ckpt: ") and "sam.pth" in str(caught.value)


# ----------------------------------------------------------------------------------------- LoRA
def test_lora_starts_as_the_identity_and_trains_alone() -> None:
    encoder = tiny()
    before = encoder(images(SIDE)).coarse.detach()
    encoder.requires_grad_(False)
    encoder.insert_lora(rank=3)
    output = encoder(images(SIDE)).coarse
    assert torch.equal(output, before)
    output.sum().backward()
    trained = {name for name, p in encoder.named_parameters() if p.grad is not None}
    leaves = ("linear_a_q", "linear_b_q", "linear_a_v", "linear_b_v")
    assert trained == {f"blocks.{i}.attn.qkv.{leaf}.weight" for i in (0, 1) for leaf in leaves}
