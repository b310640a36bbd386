"""A segmenter without learned weights: random walks over the pixels of a colour and depth image.

A walker that starts at a pixel and crosses edges of colour and depth reluctantly ends on the object
or beside it (Grady, Random Walks for Image Segmentation, 2006, with priors as in his work of 2005).
Where it may end is told by the prompt: points, the box, the likeness to the reference, and how high
over the table the reference object stands. The chance is the solution of one sparse linear system.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import splu
from torch import Tensor

from sam2act.processing.sam_g.colors import lab_of
from sam2act.processing.sam_g.interfaces import Prompt, Proposals, View
from sam2act.processing.sam_g.planes import LARGEST, relative_heights

COLOR_EDGE = 4.0  # difference of L*a*b* over which a walker hesitates
HEIGHT_EDGE = 0.006  # relative height over which it hesitates
LEAST_STEP = 1e-3  # weight of the sharpest edge
PRIOR = 0.03  # how often a walker ends where it is, against a step over no edge
SEED = 10.0  # the same at a point of the prompt
SEED_RADIUS = 1.5  # pixels
MARGIN = 3  # pixels around a box
STEEPNESS = 12.0  # of the chance as a function of the likeness
COLOR_BINS, HEIGHT_BINS = 8, 21
SURELY_OBJECT, SURELY_NOT = 0.5, 3.0  # shares of the image, in sizes of the reference object
LEVELS = (-1.0, 0.0, 1.0)  # added to the logits: part, object, whole
LOWERED = (-2.0, -1.0, 0.0)  # the same with depth, where masks grow onto neighbours of equal height
DOUBT = 0.1  # by which the score of a lowered level falls per step
ORDERING = "MMD_AT_PLUS_A"  # of the pixels in the solver; the system is symmetric


class RandomWalk:
    """Proposes three levels of one map of chances; the score says how well its size fits."""

    def __init__(self, depth: bool = True) -> None:
        """Use depth where there is some, or never."""
        self._depth = depth
        self._lab = np.zeros((0, 0, 3), np.float32)
        self._heights: np.ndarray | None = None
        self._laplacian = csr_array((0, 0))

    def look(self, view: View) -> None:
        """Build the graph of a view."""
        self._lab = lab_of(view.rgb.cpu()).numpy()
        self._heights = self._heights_of(view)
        self._laplacian = _laplacian(self._lab, self._heights)

    def propose(self, prompt: Prompt) -> Proposals:
        """The chance that a walker ends on the object, at three levels."""
        object_, beside = self._ends(prompt)
        system = (self._laplacian + diags_array((object_ + beside).ravel())).tocsc()
        solver = splu(system, permc_spec=ORDERING, options={"SymmetricMode": True})
        chance = np.clip(solver.solve(object_.ravel()), 1e-4, 1 - 1e-4)
        logits = torch.from_numpy(np.log(chance / (1 - chance)).reshape(object_.shape)).float()
        offsets, doubt = (LEVELS, 0.0) if self._heights is None else (LOWERED, DOUBT)
        levels = torch.stack([logits + offset for offset in offsets])
        sizes = (levels > 0).float().mean((1, 2)).clamp_min(1e-6) / max(prompt.share, 1e-6)
        fit = torch.minimum(sizes, 1 / sizes) * (1 - doubt * torch.tensor(offsets).abs())
        return Proposals(levels, fit, levels)

    def describe(self, view: View, mask: Tensor) -> Tensor:
        """(2, 21) how often the object, and the rest, have a height; empty without depth."""
        heights = self._heights_of(view)
        if heights is None:
            return torch.zeros(0)
        bins, inside = _height_bins(heights), mask.cpu().numpy().astype(bool)
        counts = [np.bincount(bins[part], minlength=HEIGHT_BINS) for part in (inside, ~inside)]
        return torch.tensor(np.stack([(count + 1) / (count + 1).sum() for count in counts])).float()

    def _heights_of(self, view: View) -> np.ndarray | None:
        if not self._depth or view.depth is None or not bool((view.depth > 0).any()):
            return None
        heights: np.ndarray = relative_heights(view.depth.cpu()).numpy()
        return heights

    def _ends(self, prompt: Prompt) -> tuple[np.ndarray, np.ndarray]:
        """How readily a walker ends at every pixel, as one of the object and beside it."""
        likeness = prompt.likeness.cpu().numpy().astype(np.float64)
        evidence = self._likeness_evidence(likeness, prompt.share)
        evidence += self._color_evidence(likeness, prompt.share)
        if self._heights is not None and prompt.description.numel():
            chances = prompt.description.cpu().numpy()
            evidence += np.log(chances[0] / chances[1])[_height_bins(self._heights)]
        chance = 1 / (1 + np.exp(-np.clip(evidence, -6, 6)))
        object_, beside = PRIOR * chance, PRIOR * (1 - chance)
        rows, columns = np.indices(likeness.shape)
        for (x, y), label in zip(prompt.points.tolist(), prompt.labels.tolist(), strict=True):
            near = (rows - y) ** 2 + (columns - x) ** 2 <= SEED_RADIUS**2
            (object_ if label else beside)[near] += SEED
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            outside = (columns < x0 - MARGIN) | (columns > x1 + MARGIN)
            outside |= (rows < y0 - MARGIN) | (rows > y1 + MARGIN)
            beside[outside] += SEED
        return object_, beside

    @staticmethod
    def _likeness_evidence(likeness: np.ndarray, share: float) -> np.ndarray:
        """Log odds: 0 where as many pixels are as alike as the reference object has."""
        bound = np.quantile(likeness, max(0.0, 1 - 1.2 * share))
        spread = max(float(likeness.max() - np.median(likeness)), 1e-3)
        odds: np.ndarray = STEEPNESS * (likeness - bound) / spread
        return odds.clip(-4, 4)

    def _color_evidence(self, likeness: np.ndarray, share: float) -> np.ndarray:
        """Log odds of the colours that the most alike pixels of this image have, and the others."""
        bins = _color_bins(self._lab)
        surely = likeness >= np.quantile(likeness, max(0.0, 1 - SURELY_OBJECT * share))
        never = likeness < np.quantile(likeness, max(0.0, 1 - SURELY_NOT * share))
        counts = [np.bincount(bins[part], minlength=COLOR_BINS**3) for part in (surely, never)]
        odds = [(count + 0.01 * max(count.sum(), 1)) / max(count.sum(), 1) for count in counts]
        evidence: np.ndarray = np.log(odds[0] / odds[1])[bins]
        return evidence.clip(-3, 3)


def _laplacian(lab: np.ndarray, heights: np.ndarray | None) -> csr_array:
    """(N, N) of the graph in which every pixel has four neighbours."""
    height, width = lab.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    starts, ends, weights = [], [], []
    for axis in (0, 1):
        first, second = number[:-1] if axis == 0 else number[:, :-1], None
        second = number[1:] if axis == 0 else number[:, 1:]
        effort = (np.diff(lab, axis=axis) ** 2).sum(-1) / (2 * COLOR_EDGE**2)
        if heights is not None:
            effort = effort + np.diff(heights, axis=axis) ** 2 / (2 * HEIGHT_EDGE**2)
        starts.append(first.ravel())
        ends.append(second.ravel())
        weights.append(np.maximum(np.exp(-effort), LEAST_STEP).ravel())
    start, end, weight = map(np.concatenate, (starts, ends, weights))
    size = (number.size, number.size)
    graph = csr_array((np.r_[weight, weight], (np.r_[start, end], np.r_[end, start])), shape=size)
    return (diags_array(graph.sum(axis=1)) - graph).tocsr()


def _color_bins(lab: np.ndarray) -> np.ndarray:
    """(H, W) number of the bin of every colour."""
    scaled = (lab - [0.0, -64.0, -64.0]) / [100.0, 128.0, 128.0] * COLOR_BINS
    light, a, b = np.moveaxis(np.clip(scaled.astype(int), 0, COLOR_BINS - 1), -1, 0)
    bins: np.ndarray = (light * COLOR_BINS + a) * COLOR_BINS + b
    return bins


def _height_bins(heights: np.ndarray) -> np.ndarray:
    """(H, W) number of the bin of every height; bins grow with the square of their distance."""
    scaled = np.sign(heights) * np.sqrt(np.abs(heights) / LARGEST)
    bins: np.ndarray = np.round((scaled + 1) / 2 * (HEIGHT_BINS - 1)).astype(int)
    return bins
