"""The action head: order of its features, where it looks, chained bins, normalisation."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.policies.multiview.heads import ActionHead, BinEncoding

VIEWS, GRID, PATCH = 3, 4, 8
CONFIG = load_network(
    "configs/mvt/tiny.yaml",
    "img_size 32 img_patch_size 8 im_channels 16 head_hidden [16,12] "
    "local_feature inverse_distance",
)
WIDTH = CONFIG.token_width


@pytest.fixture
def head() -> ActionHead:
    torch.manual_seed(0)
    return ActionHead(CONFIG, VIEWS).eval()


def tokens(batch: int = 2, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch * VIEWS, WIDTH, GRID, GRID, generator=generator)


def pixels(batch: int = 2, value: float = 9.0) -> Tensor:
    return torch.full((batch, VIEWS, 2), value)


def local_part(head: ActionHead, x: Tensor, pixel: Tensor) -> Tensor:
    """(B, V, C), in the documented order."""
    return head.features(x, pixel)[:, VIEWS * WIDTH :].unflatten(1, (VIEWS, WIDTH))


def test_halves_of_the_features_are_flattened_in_opposite_orders(head: ActionHead) -> None:
    # Quirk N7. Every map is constant, so both halves hold the same numbers.
    number = torch.arange(2 * VIEWS * WIDTH, dtype=torch.float32).view(2, VIEWS, WIDTH)
    x = number.view(-1, WIDTH, 1, 1).expand(-1, -1, GRID, GRID)
    features = head.features(x, pixels())
    overall, local = features.split(VIEWS * WIDTH, dim=1)
    assert torch.equal(overall, number.mT.flatten(1))  # channel, view
    torch.testing.assert_close(local, number.flatten(1))  # view, channel


def test_first_half_is_the_largest_value_of_a_map(head: ActionHead) -> None:
    x = tokens()
    expected = x.amax(dim=(2, 3)).view(2, VIEWS, WIDTH).mT.flatten(1)
    assert torch.equal(head.features(x, pixels())[:, : VIEWS * WIDTH], expected)


def test_local_feature_is_read_at_pixel_over_patch_size(head: ActionHead) -> None:
    x = tokens()
    pixel = torch.tensor([3.0 * PATCH, 1.0 * PATCH]).expand(2, VIEWS, 2)  # column 3, row 1
    expected = x[:, :, 1, 3].view(2, VIEWS, WIDTH)
    torch.testing.assert_close(local_part(head, x, pixel), expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_nothing_is_read_beyond_the_last_cell(head: ActionHead, axis: int) -> None:
    # Quirk N8, although the image goes on for another patch.
    last = (GRID - 1.0) * PATCH
    pixel = pixels()
    pixel[0, 1, axis] = last
    pixel[1, 2, axis] = last + 0.01
    local = local_part(head, tokens(), pixel)
    assert (local != 0).flatten(2).any(-1).tolist() == [[True] * 3, [True, True, False]]


def test_bilinear_option_reads_the_last_cell_instead(head: ActionHead) -> None:
    smooth = ActionHead(dataclasses.replace(CONFIG, local_feature="bilinear"), VIEWS)
    x = tokens()
    edge = smooth.features(x, pixels(value=31.0))
    assert torch.equal(edge, smooth.features(x, pixels(value=(GRID - 1.0) * PATCH)))
    expected = x[:, :, -1, -1].view(2, VIEWS, WIDTH)
    torch.testing.assert_close(edge[:, VIEWS * WIDTH :].view_as(expected), expected)
    # A quarter of the way between two cells (half-way, inverse distance would agree).
    between = local_part(smooth, x, torch.tensor([PATCH * 1.25, 0.0]).expand(2, VIEWS, 2))
    mixed = (0.75 * x[:, :, 0, 1] + 0.25 * x[:, :, 0, 2]).view(2, VIEWS, WIDTH)
    torch.testing.assert_close(between, mixed)


def test_bin_encoding_equals_the_formula() -> None:
    encoding = BinEncoding(6)(torch.tensor([0, 5, 71]))
    for row, number in zip(encoding.tolist(), (0, 5, 71), strict=True):
        angles = [number / 10000 ** (k / 6) for k in (0, 2, 4)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert row == pytest.approx(expected, abs=1e-5)


def test_own_arg_max_is_used_without_a_teacher(head: ActionHead) -> None:
    x, pixel = tokens(), pixels()
    free = head(x, pixel)
    taught = head(x, pixel, free.rotation[:, :2].argmax(-1))
    assert all(torch.equal(a, b) for a, b in zip(free, taught, strict=True))


def test_bins_condition_only_what_follows_them(head: ActionHead) -> None:
    x, pixel = tokens(), pixels()
    bins = torch.tensor([[3, 40], [10, 7]])
    base = head(x, pixel, bins)
    other_x = head(x, pixel, (bins + torch.tensor([1, 0])) % 72)
    other_y = head(x, pixel, (bins + torch.tensor([0, 1])) % 72)
    changed = [(base.rotation != other.rotation).any(-1) for other in (other_x, other_y)]
    assert changed[0].tolist() == [[False, True, True]] * 2
    assert changed[1].tolist() == [[False, False, True]] * 2
    for other in (other_x, other_y):
        assert torch.equal(base.gripper, other.gripper)
        assert torch.equal(base.collision, other.collision)


def test_norm_concerns_the_rotation_alone(head: ActionHead) -> None:
    x, pixel, bins = tokens(4), pixels(4), torch.zeros(4, 2, dtype=torch.int64)
    evaluated = head(x, pixel, bins)
    head.train()
    before = head.norm.running_mean.clone()
    trained = head(x, pixel, bins)
    assert torch.equal(trained.gripper, evaluated.gripper)
    assert torch.equal(trained.collision, evaluated.collision)
    assert not torch.allclose(trained.rotation, evaluated.rotation)
    features = head.features(x, pixel).detach()
    torch.testing.assert_close(head.norm.running_mean, 0.9 * before + 0.1 * features.mean(0))


def test_training_normalises_by_the_batch(head: ActionHead) -> None:
    x, pixel = tokens(4), pixels(4)
    bins = torch.zeros(4, 2, dtype=torch.int64)
    head.train()
    expected = head(x, pixel, bins).rotation
    # Scaling and shifting all features alike is undone by the statistics of the batch.
    torch.testing.assert_close(head(3 * x + 1, pixel, bins).rotation, expected, atol=1e-3, rtol=0)


def test_one_sample_cannot_be_normalised_in_training(head: ActionHead) -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        head.train()(tokens(1), pixels(1))
