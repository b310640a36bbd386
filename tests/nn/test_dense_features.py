"""Feature maps for correspondences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam2act.nn.dense_features import CELLS, EncoderFeatures, build_dinov2


class Pyramid(nn.Module):
    """The colours as one level and their halves as another."""

    def forward(self, rgb: Tensor) -> list[Tensor | None]:
        """(M, 3, S, S) -> two levels and a missing one."""
        return [rgb, None, rgb / 2 + 1]


def test_levels_are_normalised_and_put_side_by_side() -> None:
    gray = torch.full((2, 64, 64, 3), 51, dtype=torch.uint8)
    features = EncoderFeatures(Pyramid(), 64, "half")(gray)
    assert features.shape == (2, CELLS, CELLS, 6)
    colour = torch.full((3,), (51 / 255 - 0.5) / 0.5)
    for level, values in ((features[..., :3], colour), (features[..., 3:], colour / 2 + 1)):
        expected = (values / values.norm()).expand_as(level)
        torch.testing.assert_close(level, expected)


def test_an_encoder_by_name_gives_features_of_every_cell() -> None:
    rgb = torch.randint(0, 256, (1, 40, 40, 3), dtype=torch.uint8)
    build = build_dinov2("tiny")
    features = build(rgb)
    assert features.shape[:3] == (1, CELLS, CELLS) and features.isfinite().all()
    assert not torch.equal(features, build(255 - rgb))
