"""The encoder's trunk: windows, sizes of its outputs, equality with another implementation."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from sam2act.core.torchvision_cpu import ensure_torchvision_importable
from sam2act.nn.hiera import (
    Hiera,
    HieraBlock,
    WindowAttention,
    pool_2x2,
    window_spans,
)
from sam2act.nn.image_encoder import Sam2ImageEncoder
from sam2act.nn.lora import LoRAQKV
from sam2act.nn.sam2_sizes import HieraSizes

SMALL = HieraSizes(
    embed_dim=8,
    num_heads=1,
    stages=(1, 2, 3, 1),
    global_att_blocks=(4,),
    window_spec=(8, 4, 6, 3),
    window_pos_embed_bkg_spatial_size=(5, 5),
    neck_width=32,
)
SIDE = 96  # the third stage has 6 x 6 tokens, the fourth 3 x 3
# Our name -> the name in transformers.
RENAMING = (
    ("trunk.", "backbone."),
    ("norm1", "layer_norm1"),
    ("norm2", "layer_norm2"),
    ("patch_embed.proj", "patch_embed.projection"),
    ("mlp.layers.0", "mlp.proj_in"),
    ("mlp.layers.1", "mlp.proj_out"),
)


def images(side: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def randomise(module: torch.nn.Module) -> None:
    """Normal weights also where the module starts with zeros or ones."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize(
    ("length", "window", "expected"),
    [(16, 14, [(0, 14, 14), (14, 16, 2)]), (12, 4, [(0, 12, 4)]), (3, 7, [(0, 3, 3)])],
)
def test_spans_cover_the_axis(length: int, window: int, expected: list) -> None:
    spans = window_spans(length, window)
    assert [(span.start, span.stop, size) for span, size in spans] == expected


def test_pooling_takes_the_largest_of_four() -> None:
    x = torch.randn(2, 4, 6, 3)
    expected = x.unflatten(1, (2, 2)).unflatten(3, (3, 2)).amax(dim=(2, 4))
    assert torch.equal(pool_2x2(x), expected)


@pytest.mark.parametrize("pool", [False, True])
def test_window_attention_equals_the_formula(pool: bool) -> None:
    torch.manual_seed(0)
    layer = WindowAttention(6, 8, heads=2, pool_queries=pool)
    x = torch.randn(3, 4, 4, 6)
    query, key, value = layer.qkv(x).split(8, dim=-1)
    query = pool_2x2(query) if pool else query
    side = query.shape[1]
    parts = []
    for head in (slice(0, 4), slice(4, 8)):
        q, k, v = (t[..., head].flatten(1, 2) for t in (query, key, value))
        parts.append((q @ k.mT / 2).softmax(-1) @ v)
    expected = layer.proj(torch.cat(parts, -1)).view(3, side, side, 8)
    torch.testing.assert_close(layer(x, window=0), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("adapted", [False, True])
def test_padding_tokens_enter_as_zeros(pool: bool, adapted: bool) -> None:
    torch.manual_seed(0)
    layer = WindowAttention(6, 8, heads=2, pool_queries=pool)
    if adapted:
        layer.qkv = LoRAQKV(layer.qkv, rank=2)
        randomise(layer.qkv)
    x = torch.randn(2, 8, 8, 6)
    padded = F.pad(x, (0, 0, 0, 4, 0, 4))
    windows = rearrange(padded, "b (i p) (j q) c -> (b i j) p q c", p=6, q=6)
    attended = rearrange(layer(windows, window=0), "(b i j) p q c -> b (i p) (j q) c", i=2, j=2)
    side = 4 if pool else 8
    torch.testing.assert_close(layer(x, window=6), attended[:, :side, :side], atol=1e-6, rtol=1e-5)


def test_checkpointing_changes_no_output_and_no_gradient() -> None:
    trunk = Hiera(SMALL)
    randomise(trunk)
    results = []
    for checkpointing in (False, True):
        trunk.checkpointing = checkpointing
        trunk.zero_grad()
        outputs = trunk(images(SIDE))
        sum(output.square().sum() for output in outputs).backward()
        results.append([*outputs, *(p.grad for p in trunk.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@torch.no_grad()
def test_windows_do_not_see_each_other_and_global_attention_does() -> None:
    x = torch.randn(1, 8, 8, 8)
    changed = x.clone()
    changed[:, 4:, 4:] = torch.randn(4, 4, 8)
    for window, reaches in ((4, False), (0, True)):
        block = HieraBlock(8, 8, heads=2, window=window, pool=False).eval()
        difference = (block(changed) - block(x)).abs().sum(-1)[0]
        assert difference[4:, 4:].min() > 0
        assert bool(difference[:4].max() > 1e-4) == reaches


def test_outputs_of_all_stages() -> None:
    trunk = Hiera(SMALL)
    shapes = [tuple(x.shape) for x in trunk(images(SIDE))]
    assert shapes == [(2, 8, 24, 24), (2, 16, 12, 12), (2, 32, 6, 6), (2, 64, 3, 3)]
    # The block that starts a stage keeps the window of the stage before it.
    assert [block.window for block in trunk.blocks] == [8, 8, 4, 4, 0, 6, 6]
    assert [block.pool for block in trunk.blocks] == [False, True, False, True, False, False, True]


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
@torch.no_grad()
def test_trunk_and_neck_equal_the_transformers_implementation() -> None:
    ensure_torchvision_importable()
    from transformers import Sam2VisionModel
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig

    widths = list(SMALL.stage_widths)
    backbone = Sam2HieraDetConfig(
        hidden_size=SMALL.embed_dim,
        num_attention_heads=SMALL.num_heads,
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[SMALL.num_heads * 2**i for i in range(4)],
        blocks_per_stage=list(SMALL.stages),
        global_attention_blocks=list(SMALL.global_att_blocks),
        window_size_per_stage=list(SMALL.window_spec),
        window_positional_embedding_background_size=list(SMALL.window_pos_embed_bkg_spatial_size),
        image_size=[SIDE, SIDE],
    )
    config = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=widths[::-1],
        fpn_hidden_size=SMALL.neck_width,
        backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
    )
    other, encoder = Sam2VisionModel(config).eval(), Sam2ImageEncoder(SMALL).eval()
    randomise(encoder)
    other.load_state_dict(
        {
            transformers_name(name): value
            for name, value in encoder.state_dict().items()
            if not name.startswith("conv_s")
        }
    )
    expected = other(images(SIDE)).fpn_hidden_states
    actual = encoder.neck(encoder.trunk(images(SIDE)))
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def transformers_name(name: str) -> str:
    for ours, theirs in RENAMING:
        name = name.replace(ours, theirs)
    return name.replace(".conv.", ".") if name.startswith("neck.") else name
