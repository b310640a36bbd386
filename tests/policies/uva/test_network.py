"""The joint transformer: published sizes, order of tokens, what each mode sees, poolings."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.policies.uva.config import (
    ACT,
    FULL,
    INVERSE,
    MODES,
    POOLINGS,
    VIDEO,
    TransformerConfig,
)
from sam2act.policies.uva.modes import visible
from sam2act.policies.uva.network import Clip, JointTransformer, latents_of, tokens_of

SMALL = TransformerConfig(
    autoregressive_model="custom",
    encoder_embed_dim=8,
    encoder_depth=1,
    decoder_depth=1,
    num_heads=2,
    vae_embed_dim=2,
    latent_side=8,
    patch_size=2,
    diffloss_w=8,
    diffloss_d=1,
    act_diffloss_w=8,
    act_diffloss_d=1,
    use_language=True,
)


def whole_clip(samples: int = 2) -> Clip:
    tokens, channels = 4 * SMALL.frame_tokens, SMALL.token_channels
    return Clip(
        history=torch.randn(samples, tokens, channels),
        future=torch.randn(samples, tokens, channels),
        mask=torch.rand(samples, tokens) < 0.8,
        actions=torch.randn(samples, 16, SMALL.action_dim),
        text=torch.randn(samples, 512),
    )


@pytest.mark.parametrize(
    ("size", "millions"),
    [
        ("mar_tiny", 134.0),
        ("mar_small", 176.5),
        ("mar_base", 261.6),
        ("mar_large", 510.1),
        ("mar_huge", 913.9),
    ],
)
def test_published_sizes(size: str, millions: float) -> None:
    with torch.device("meta"):
        model = JointTransformer(TransformerConfig(autoregressive_model=size, use_language=True))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 1) == millions


def test_text_may_take_fewer_places() -> None:
    small = JointTransformer(dataclasses.replace(SMALL, text_tokens=3))
    assert small.text_pos_embed.shape[1] == 3 and SMALL.text_tokens == 64
    clip = whole_clip()
    out = small(clip)
    assert out.shape == (2, 4 * SMALL.frame_tokens, SMALL.size.width)
    assert not torch.equal(out, small(dataclasses.replace(clip, text=-clip.text)))


def test_tokens_are_patches_in_reading_order() -> None:
    latents = torch.arange(2 * 4 * 3 * 4 * 4.0).reshape(2, 4, 3, 4, 4)
    tokens = tokens_of(latents, 2)
    assert tokens.shape == (2, 16, 12)
    # The third token of the second frame is its lower left quarter.
    assert torch.equal(tokens[1, 6].reshape(3, 2, 2), latents[1, 1, :, 2:, :2])
    assert torch.equal(latents_of(tokens, 2, 4), latents)


@torch.no_grad()
def test_modes_see_what_they_may() -> None:
    torch.manual_seed(0)
    model, clip = JointTransformer(SMALL).eval(), whole_clip()
    plain = {mode: model(visible(clip, mode)) for mode in MODES}
    assert torch.equal(plain[VIDEO], plain[FULL])
    hidden = torch.where(clip.mask[..., None], clip.future + 1, clip.future)
    blind = {  # what may change without any effect
        "future": (ACT,),
        "history": (INVERSE,),
        "actions": (VIDEO, ACT, INVERSE, FULL),
    }
    for name, modes in blind.items():
        changed = dataclasses.replace(clip, **{name: getattr(clip, name) + 1})
        for mode in MODES:
            same = torch.equal(model(visible(changed, mode)), plain[mode])
            assert same == (mode in modes), (name, mode)
    masked = dataclasses.replace(clip, future=hidden)
    assert torch.equal(model(visible(masked, VIDEO)), plain[VIDEO])
    assert not torch.equal(model(visible(masked, INVERSE)), plain[INVERSE])


@torch.no_grad()
def test_a_dropped_instruction_is_none() -> None:
    torch.manual_seed(0)
    model, clip = JointTransformer(SMALL).eval(), whole_clip()
    dropped = model(dataclasses.replace(clip, text_dropped=torch.tensor([True, False])))
    told, untold = model(clip), model(dataclasses.replace(clip, text=None))
    torch.testing.assert_close(dropped[0], untold[0])
    torch.testing.assert_close(dropped[1], told[1])
    assert not torch.allclose(told, untold, atol=1e-3)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_gives_one_feature_per_action(pooling: str) -> None:
    config = dataclasses.replace(SMALL, act_model_type=pooling)
    head = JointTransformer(config).diffactloss
    tokens = torch.randn(2, 4 * config.frame_tokens, 8)
    features = head.condition(tokens)
    assert features.shape == (2, 16, 8)
    with torch.no_grad():
        moved = head.condition(tokens + torch.tensor([[[1.0]], [[0.0]]]))
    assert not torch.equal(moved[0], features[0]) and torch.equal(moved[1], features[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "multiple of num_heads"),
        ({"latent_side": 7}, "multiple of patch_size"),
        ({"latent_side": 2, "patch_size": 2}, "4 tokens, which must be a multiple of 16"),
        ({"act_model_type": "mean"}, "act_model_type: 'mean' is not one of"),
        ({"label_drop_prob": 1.0}, "label_drop_prob must be"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL, **changes)
