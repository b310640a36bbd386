"""Feature sets and a segmenter together: learns reference objects, finds them in views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sam2act.processing.sam_g.components import build_features, build_segmenter
from sam2act.processing.sam_g.interfaces import View
from sam2act.processing.sam_g.mask_weights import STEPS, learn_weights
from sam2act.processing.sam_g.target import (
    Points,
    ReferenceImage,
    Target,
    decode,
    feature_maps,
    find_points,
    remember,
)


class ObjectFinder:
    """SAM-G's procedure with named components."""

    def __init__(
        self, features: str, segmenter: str, match: str = "pooled", steps: int = STEPS
    ) -> None:
        """Build them.

        Args:
            features: see `build_features`.
            segmenter: see `build_segmenter`.
            match: see `find_points`.
            steps: updates of the weights of the proposed masks.

        Raises:
            ConfigError: a name is unknown, or weights are absent.
        """
        self._segmenter = build_segmenter(segmenter)
        self.prompted = getattr(self._segmenter, "prompted", True)  # it needs points
        self._features = build_features(features) if self.prompted else ()
        self._match, self._steps = match, steps

    def learn(self, reference: ReferenceImage) -> Target:
        """What to remember of a reference, with learned weights of the proposed masks.

        Raises:
            ConfigError: the mask is empty, or the segmenter cannot use the reference.
        """
        target = remember(reference, self._features, self._segmenter)
        if not self.prompted:
            return target
        return learn_weights(
            *(reference, target, self._features, self._segmenter, self._match, self._steps)
        )

    def points(self, view: View, target: Target) -> Points:
        """Where a view is most and least like a reference object."""
        return find_points(feature_maps(view, self._features), target, view.side, self._match)

    def find(self, view: View, targets: Sequence[Target]) -> Tensor:
        """(H, W) bool, the masks of all `targets` together."""
        self._segmenter.look(view)
        maps = feature_maps(view, self._features)
        found = torch.zeros(view.side, dtype=torch.bool)
        for target in targets:
            points = (
                find_points(maps, target, view.side, self._match)
                if self.prompted
                else Points(torch.zeros(view.side), torch.zeros(2, 2, dtype=torch.int64))
            )
            found |= decode(self._segmenter, points, target).cpu()
        return found
