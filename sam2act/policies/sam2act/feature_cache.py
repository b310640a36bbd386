"""Outputs of the frozen parts of stage 2, computed once per training sample.

Legend: F frames of a training batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sam2act.core.errors import ConfigError
from sam2act.core.types import KeyframeBatch
from sam2act.nn.image_encoder import FeaturePyramid

FrameKey = tuple[object, ...]
# (batch, language) -> tokens, image features and true positions of its F frames.
FrozenFeatures = Callable[[KeyframeBatch, Tensor], tuple[Tensor, FeaturePyramid, Tensor]]


class FeatureCache:
    """Outputs of the frozen parts, one entry per training sample."""

    def __init__(self, encoders: nn.Module, window: int) -> None:
        """Nothing is known yet.

        Args:
            encoders: of the images.
            window: consecutive frames of a batch that are computed together. Always as many, so
                that rounding does not depend on what is known already.

        Raises:
            ConfigError: the image encoders are trained, so their outputs change.
        """
        trained = [n for n, p in encoders.named_parameters() if p.requires_grad]
        if trained:
            raise ConfigError(
                "peract.cache_frozen_features: True needs a frozen image encoder; set "
                f"stage_two_freeze_skip_convs: True ({trained[0]} is trained)"
            )
        self._window = window
        self._entries: dict[FrameKey, tuple[Tensor | None, ...]] = {}

    def get(
        self, frozen_features: FrozenFeatures, batch: KeyframeBatch, language: Tensor
    ) -> tuple[Tensor, FeaturePyramid, Tensor]:
        """`frozen_features` of the batch, computed only where a sample is new."""
        # The same frame occurs with different time features, so these belong to the key.
        states = batch.proprioception.tolist()
        keys: list[FrameKey] = [
            (*identity, *state) for identity, state in zip(batch.identities, states, strict=True)
        ]
        for first in range(0, len(keys), self._window):
            rows = range(first, min(first + self._window, len(keys)))
            if any(keys[row] not in self._entries for row in rows):
                part = frozen_features(batch.select(rows), language[rows.start : rows.stop])
                self._add([keys[row] for row in rows], part)
        columns = zip(*(self._entries[key] for key in keys), strict=True)
        fine, middle, coarse, tokens, waypoint = (_stacked(column) for column in columns)
        assert coarse is not None and tokens is not None and waypoint is not None
        pyramid = FeaturePyramid(fine, middle, coarse).changed(lambda level: level.flatten(0, 1))
        return tokens.flatten(0, 1), pyramid, waypoint

    def _add(
        self, keys: Sequence[FrameKey], features: tuple[Tensor, FeaturePyramid, Tensor]
    ) -> None:
        tokens, pyramid, waypoint = features
        by_key = (len(keys), -1)
        levels = pyramid.changed(lambda level: level.unflatten(0, by_key))
        parts = (*levels, tokens.unflatten(0, by_key), waypoint)
        for row, key in enumerate(keys):
            self._entries[key] = tuple(None if x is None else x[row].clone() for x in parts)


def _stacked(column: tuple[Tensor | None, ...]) -> Tensor | None:
    """One batch of what is cached per sample; None where the encoder has no such level."""
    present = [value for value in column if value is not None]
    return torch.stack(present) if present else None
