"""What is remembered of a reference object, where it is in another view, and its mask.

The procedure is that of the released SAM-G: one positive point where a view is most like the
reference, one negative point where it is least, one positive point per part, then three rounds of
decoding. Legend: F feature sets, C channels, H W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.processing.sam_g.correspondence import (
    greatest,
    least,
    on_grid,
    point_target,
    pooled_target,
    similarity,
    upsampled,
)
from sam2act.processing.sam_g.interfaces import (
    DenseFeatures,
    Prompt,
    PromptSegmenter,
    Proposals,
    View,
)

NEIGHBOURS = 3  # reference vectors to which a cell is compared where the match is `nearest`
MOST_VECTORS = 256  # that are kept of a reference object
MOST_AROUND = 512  # that are kept of what is around it
APART = 2  # cells around the object that count neither to it nor to what is around it
MATCHES = ("pooled", "nearest", "contrast")
Maps = Sequence[Tensor]  # one feature map (h, w, C) per feature set


@dataclass(frozen=True)
class ReferenceImage:
    """A view, the object in it, and what may help to find it.

    Attributes:
        view: of the reference.
        mask: (H, W) bool, the object.
        parts: masks (H, W) bool of parts, each of which gives a positive point.
        points: (x, y) in pixels, each of which gives a positive point.
    """

    view: View
    mask: Tensor
    parts: tuple[Tensor, ...] = ()
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Target:
    """A reference object as it is remembered.

    Attributes:
        vectors: per feature set (N, C) unit vectors of the object: one that stands for all, then up
            to 256 of its cells.
        parts: per feature set (R, C) of its parts, those of masks before those of points.
        around: per feature set up to 512 unit vectors of what is around it.
        share: part of the image that it covers.
        description: see `PromptSegmenter.describe`.
        weights: (2,) of the second and third of the three proposed masks.
    """

    vectors: tuple[Tensor, ...]
    parts: tuple[Tensor, ...]
    around: tuple[Tensor, ...]
    share: float
    description: Tensor
    weights: Tensor = dataclasses.field(default_factory=lambda: torch.full((2,), 1 / 3))

    def state(self) -> dict[str, Tensor]:
        """As tensors by name."""
        named = {"share": torch.tensor(self.share), "description": self.description}
        named["weights"] = self.weights
        for kind in ("vectors", "parts", "around"):
            named |= {f"{kind}.{i}": value for i, value in enumerate(getattr(self, kind))}
        return named

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> Target:
        """From tensors by name."""
        count = sum(name.startswith("vectors.") for name in state)
        return cls(
            tuple(state[f"vectors.{i}"] for i in range(count)),
            tuple(state[f"parts.{i}"] for i in range(count)),
            tuple(state[f"around.{i}"] for i in range(count)),
            float(state["share"]),
            state["description"],
            state["weights"],
        )


def remember(
    reference: ReferenceImage, features: Sequence[DenseFeatures], segmenter: PromptSegmenter
) -> Target:
    """What is remembered of a reference object, with equal weights of the proposed masks.

    Raises:
        ConfigError: the mask, or that of a part, is empty.
    """
    maps = feature_maps(reference.view, features)
    vectors, parts, around = [], [], []
    for map_ in maps:
        cells = on_grid(reference.mask, map_.shape[:2])
        own = _some(map_[cells], MOST_VECTORS)
        vectors.append(torch.cat([pooled_target(map_, cells)[None], own]))
        near = F.max_pool2d(cells.float()[None], 2 * APART + 1, 1, APART)[0] > 0
        around.append(_some(map_[~near], MOST_AROUND))
        of_masks = [pooled_target(map_, on_grid(m, map_.shape[:2])) for m in reference.parts]
        longest = (max(reference.view.side),) * 2
        of_points = [point_target(map_, point, longest) for point in reference.points]
        both = of_masks + of_points
        parts.append(torch.stack(both) if both else map_.new_zeros(0, map_.shape[-1]))
    return Target(
        tuple(vectors),
        tuple(parts),
        tuple(around),
        float(reference.mask.float().mean()),
        segmenter.describe(reference.view, reference.mask),
    )


def _some(vectors: Tensor, most: int) -> Tensor:
    """At most `most` of vectors (N, C), evenly spaced, of length 1."""
    kept = torch.linspace(0, max(len(vectors) - 1, 0), min(len(vectors), most)).long()
    return F.normalize(vectors[kept], dim=-1)


def feature_maps(view: View, features: Sequence[DenseFeatures]) -> list[Tensor]:
    """One map (h, h, C) per feature set, of the view padded with black to a square, below or on the
    right."""
    height, width = view.side
    side = max(height, width)
    square = F.pad(view.rgb[None], (0, 0, 0, side - width, 0, side - height))
    return [extract(square)[0] for extract in features]


@dataclass(frozen=True)
class Points:
    """Where a view is most and least like the reference.

    Attributes:
        likeness: (H, W) similarity with the object, the mean over feature sets.
        points: (2 + R, 2) positive, negative, parts; x and y.
    """

    likeness: Tensor
    points: Tensor

    @property
    def labels(self) -> Tensor:
        """(2 + R,) 1 = positive."""
        labels = torch.ones(len(self.points), dtype=torch.int64)
        labels[1] = 0
        return labels


def find_points(maps: Maps, target: Target, side: tuple[int, int], match: str = "pooled") -> Points:
    """The prompts of a view.

    Args:
        maps: of the view, one per feature set.
        target: what is looked for.
        side: (H, W) of the view.
        match: pooled (as published): cosine with the one vector that stands for the object;
            nearest: mean cosine with the three vectors of the object that are most alike;
            contrast: the sum of both, less the mean cosine with the three most alike vectors of
            what was around the object.
    """
    each = [
        upsampled(_likeness(F.normalize(map_, dim=-1), vectors, around, match), side)
        for map_, vectors, around in zip(maps, target.vectors, target.around, strict=True)
    ]
    likeness = torch.stack(each).mean(0)
    points = [greatest(likeness), least(likeness)]
    for part in zip(*target.parts, strict=True):  # one vector per feature set
        alike = [similarity(one, map_, side) for one, map_ in zip(part, maps, strict=True)]
        points.append(greatest(torch.stack(alike).mean(0)))
    return Points(likeness, torch.cat(points))


def _likeness(cells: Tensor, vectors: Tensor, around: Tensor, match: str) -> Tensor:
    """(h, w) of unit vectors (h, w, C); see `find_points`."""
    if match == "pooled":
        return cells @ vectors[0]
    nearest = _nearest(cells, vectors[1:])
    if match == "nearest":
        return nearest
    beside = _nearest(cells, around) if len(around) else torch.zeros_like(nearest)
    return cells @ vectors[0] + nearest - beside


def _nearest(cells: Tensor, vectors: Tensor) -> Tensor:
    alike = cells @ vectors.T
    return alike.topk(min(NEIGHBOURS, len(vectors)), dim=-1).values.mean(-1)


def combined(proposals: Tensor, weights: Tensor) -> Tensor:
    """(H, W) sum of three masks' logits (3, H, W), weighted with 1 - w1 - w2, w1 and w2."""
    first = 1 - weights.sum()
    return proposals[0] * first + proposals[1] * weights[0] + proposals[2] * weights[1]


def first_prompt(found: Points, target: Target) -> Prompt:
    """That of the first round: points alone."""
    return Prompt(
        points=found.points,
        labels=found.labels,
        box=None,
        low_resolution=None,
        likeness=found.likeness,
        share=target.share,
        description=target.description,
    )


def decode(segmenter: PromptSegmenter, found: Points, target: Target) -> Tensor:
    """(H, W) bool, the object's mask after three rounds; `segmenter` has looked at the view."""
    prompt = first_prompt(found, target)
    proposals = segmenter.propose(prompt)
    mask = combined(proposals.logits, target.weights) > 0
    low = combined(proposals.low_resolution, target.weights)[None]
    for negative_in_box in (True, False):
        box = box_of(mask)
        prompt = _with_negative(prompt, least(found.likeness, box if negative_in_box else None))
        proposals = segmenter.propose(dataclasses.replace(prompt, box=box, low_resolution=low))
        mask, low = _best(proposals)
    return mask


def _with_negative(prompt: Prompt, point: Tensor) -> Prompt:
    return dataclasses.replace(
        prompt,
        points=torch.cat([prompt.points, point]),
        labels=torch.cat([prompt.labels, torch.zeros(1, dtype=torch.int64)]),
    )


def _best(proposals: Proposals) -> tuple[Tensor, Tensor]:
    best = int(proposals.scores.argmax())
    return proposals.logits[best] > 0, proposals.low_resolution[best][None]


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of the first and last columns and rows of a mask (H, W).

    The whole image without its first and last row and column where the mask is empty.
    """
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if not len(rows):
        return 1, 1, mask.shape[1] - 1, mask.shape[0] - 1
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
