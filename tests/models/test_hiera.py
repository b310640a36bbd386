"""The encoder's trunk: windows, sizes of its outputs, equality with another implementation."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from sam2act.compat.torchvision_cpu import ensure_torchvision_importable
from sam2act.models.hiera import (
    Hiera,
    HieraBlock,
    WindowAttention,
    merge_windows,
    partition_windows,
    pool_2x2,
)
from sam2act.models.image_encoder import Sam2ImageEncoder
from sam2act.models.sam2_sizes import HieraSizes

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


@pytest.mark.parametrize(("height", "width", "window"), [(8, 8, 4), (7, 10, 4), (3, 5, 7)])
def test_windows_round_trip(height: int, width: int, window: int) -> None:
    x = torch.randn(2, height, width, 3)
    windows, padded = partition_windows(x, window)
    assert padded[0] % window == 0 and 0 <= padded[0] - height < window
    assert padded[1] % window == 0 and 0 <= padded[1] - width < window
    assert torch.equal(merge_windows(windows, padded, (height, width)), x)


def test_windows_are_tiles_in_reading_order_padded_with_zeros() -> None:
    x = torch.arange(1, 1 + 5 * 7, dtype=torch.float32).view(1, 5, 7, 1)
    windows, _ = partition_windows(x, 4)
    assert windows.shape == (4, 4, 4, 1)
    assert torch.equal(windows[0], x[0, :4, :4])
    assert torch.equal(windows[1, :, :3], x[0, :4, 4:]) and not windows[1, :, 3].any()
    assert torch.equal(windows[2, :1], x[0, 4:, :4]) and not windows[2, 1:].any()


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
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)


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
