"""Tokens and the multi-view transformer: order, and who sees whom."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.nn.multiview_transformer import MultiViewTransformer, Tokenizer

BATCH, VIEWS, GRID, LENGTH = 2, 3, 4, 5
CONFIG = load_network(
    "configs/mvt/tiny.yaml",
    "depth 4 img_size 32 img_patch_size 8 im_channels 16 attn_dim 24 attn_heads 2 "
    f"attn_dim_head 8 lang_len {LENGTH} lang_dim 6",
)
WIDTH = CONFIG.token_width
FEATURES = 7
TOKENS = VIEWS * GRID * GRID


def build(**changes) -> MultiViewTransformer:
    torch.manual_seed(0)
    return MultiViewTransformer(dataclasses.replace(CONFIG, **changes), VIEWS).eval()


def random_tokens() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(BATCH, TOKENS, WIDTH, generator=generator)
    return image, torch.randn(BATCH, LENGTH, WIDTH, generator=generator)


@torch.no_grad()
def joint_input(network: MultiViewTransformer, image: Tensor, language: Tensor) -> Tensor:
    """What the first joint layer receives: (B, L + T, D), language first."""
    seen: list[Tensor] = []
    layer = network.layers[CONFIG.depth // 2]
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(image, language)
    handle.remove()
    return seen[0]


def other_view(image: Tensor, sample: int, view: int) -> Tensor:
    """`image` with other tokens in one view of one sample."""
    changed = image.clone().unflatten(1, (VIEWS, -1))
    changed[sample, view] = torch.randn_like(changed[sample, view])
    return changed.flatten(1, 2)


def by_view(tokens_BND: Tensor) -> Tensor:
    """(B, V, P * P, D) of the image part of a joint sequence."""
    return tokens_BND[:, LENGTH:].unflatten(1, (VIEWS, -1))


@pytest.mark.parametrize("view", range(VIEWS))
def test_first_half_keeps_views_apart(view: int) -> None:
    network, (image, language) = build(), random_tokens()
    before = by_view(joint_input(network, image, language))
    after = by_view(joint_input(network, other_view(image, 1, view), language))
    changed = (before != after).flatten(2).any(-1)
    assert changed.tolist() == [[False] * VIEWS, [v == view for v in range(VIEWS)]]


def test_first_half_mixes_the_tokens_of_a_view() -> None:
    network, (image, language) = build(), random_tokens()
    changed = image.clone()
    changed[0, 0] += torch.randn(WIDTH)
    before, after = (by_view(joint_input(network, x, language)) for x in (image, changed))
    assert (before != after).any(-1)[0, 0].all()


def test_language_is_untouched_by_and_does_not_reach_the_first_half() -> None:
    network, (image, language) = build(), random_tokens()
    joint = joint_input(network, image, language)
    assert torch.equal(by_view(joint), by_view(joint_input(network, image, language + 1)))
    expected = network.input_projection(torch.cat([language, image], 1))[:, :LENGTH]
    torch.testing.assert_close(joint[:, :LENGTH], expected)


@torch.no_grad()
def test_second_half_sees_all_views_and_the_language() -> None:
    network, (image, language) = build(), random_tokens()
    base = network(image, language)
    for changed in (
        network(other_view(image, 1, 2), language),
        network(image, language + torch.randn(LENGTH, WIDTH) * torch.tensor([[[0.0]], [[1.0]]])),
    ):
        moved = ((changed - base).abs().amax(dim=(1, 2, 3)) > 1e-4).view(BATCH, VIEWS)
        assert moved.tolist() == [[False] * VIEWS, [True] * VIEWS]


def test_joint_option_mixes_views_from_the_first_layer() -> None:
    network, (image, language) = build(self_cross_ver=0), random_tokens()
    seen: list[Tensor] = []
    network.layers[0].register_forward_hook(lambda *args: seen.append(args[2]))
    for x in (image, other_view(image, 1, 0)):
        network(x, language)
    assert (by_view(seen[0]) != by_view(seen[1])).flatten(2).any(-1).tolist()[1] == [True] * 3


@torch.no_grad()
def test_token_order_is_view_row_column() -> None:
    network, (image, language) = build(), random_tokens()
    network.layers = torch.nn.ModuleList()  # leaves the two projections
    out = network(image, language).unflatten(0, (BATCH, VIEWS))
    expected = network.output_projection(network.input_projection(image))
    for view, row, column in ((0, 0, 0), (1, 2, 3), (2, 3, 1)):
        token = expected[:, (view * GRID + row) * GRID + column]
        torch.testing.assert_close(out[:, view, :, row, column], token)


# ---------------------------------------------------------------------------------- tokenizer
@pytest.fixture
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(CONFIG, FEATURES, VIEWS).eval()


def tokenizer_inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randn(BATCH, VIEWS, 10, 32, 32, generator=generator),
        torch.randn(BATCH * VIEWS, FEATURES, GRID, GRID, generator=generator),
        torch.rand(BATCH, 4, generator=generator),
    )


@torch.no_grad()
def test_channels_of_a_token_are_features_patch_and_state(tokenizer: Tokenizer) -> None:
    images, features, proprio = tokenizer_inputs()
    base = tokenizer.image_tokens(images, features, proprio)
    assert base.shape == (BATCH, TOKENS, WIDTH)
    share = 3 * WIDTH // 8
    parts = {"features": (0, share), "patch": (share, 2 * share), "state": (2 * share, WIDTH)}
    others = {
        "features": tokenizer.image_tokens(images, features + 1, proprio),
        "patch": tokenizer.image_tokens(images.flip(-1), features, proprio),
        "state": tokenizer.image_tokens(images, features, proprio + 1),
    }
    for name, other in others.items():
        changed = (other != base).flatten(0, 1).any(0)
        start, stop = parts[name]
        assert changed[start:stop].any() and not changed[:start].any() and not changed[stop:].any()


@torch.no_grad()
def test_state_is_the_same_in_every_token_of_a_sample(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.image_tokens(*tokenizer_inputs()) - tokenizer.position_encoding
    state = tokens[..., -(WIDTH // 4) :]
    torch.testing.assert_close(state, state[:, :1].expand_as(state))


@torch.no_grad()
def test_features_of_a_cell_reach_the_token_of_that_cell(tokenizer: Tokenizer) -> None:
    images, features, proprio = tokenizer_inputs()
    base = tokenizer.image_tokens(images, features, proprio)
    features[1 * VIEWS + 2, :, 3, 0] += 1  # sample 1, view 2, row 3, column 0
    changed = (tokenizer.image_tokens(images, features, proprio) != base).any(-1)
    assert changed.nonzero().tolist() == [[1, (2 * GRID + 3) * GRID + 0]]


@torch.no_grad()
def test_language_tokens_are_normalised_one_by_one(tokenizer: Tokenizer) -> None:
    language = torch.randn(BATCH, LENGTH, 6, generator=torch.Generator().manual_seed(3))
    base = tokenizer.language_tokens(language)
    assert base.shape == (BATCH, LENGTH, WIDTH)
    language[1, 2] += torch.arange(6)
    changed = (tokenizer.language_tokens(language) != base).any(-1)
    assert changed.nonzero().tolist() == [[1, 2]]
