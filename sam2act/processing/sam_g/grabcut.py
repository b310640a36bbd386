"""GrabCut of OpenCV as a segmenter without learned weights; colours alone, no depth."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.processing.sam_g.interfaces import Prompt, Proposals, View
from sam2act.processing.sam_g.random_walk import LEVELS

ITERATIONS = 3
PERHAPS, PROBABLY = 2.5, 1.0  # sizes of the reference object: most alike pixels that may belong
MARGIN, RADIUS = 3, 2  # pixels around the box, around a point
LOGIT = 1.5  # more than the distance of two levels


class GrabCut:
    """Starts from the pixels most like the reference object; three times the same mask."""

    def __init__(self) -> None:
        self._cv2 = _opencv()
        self._rgb = np.zeros((0, 0, 3), np.uint8)

    def look(self, view: View) -> None:
        """Take a view."""
        self._rgb = np.ascontiguousarray(view.rgb.cpu().numpy())

    def propose(self, prompt: Prompt) -> Proposals:
        """The mask at three levels, which differ in certainty alone."""
        mask = self._start(prompt)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cut, mode = self._cv2.grabCut, self._cv2.GC_INIT_WITH_MASK
        with contextlib.suppress(self._cv2.error):  # nothing to tell apart: the start stays
            mask = cut(self._rgb, mask, None, *models, ITERATIONS, mode)[0]
        inside = np.isin(mask, (self._cv2.GC_FGD, self._cv2.GC_PR_FGD))
        logits = torch.from_numpy(np.where(inside, LOGIT, -LOGIT).astype(np.float32))
        levels = torch.stack([logits + level for level in LEVELS])
        return Proposals(levels, torch.ones(len(LEVELS)), levels)

    def describe(self, view: View, mask: Tensor) -> Tensor:
        """Nothing."""
        return torch.zeros(0)

    def _start(self, prompt: Prompt) -> np.ndarray:
        likeness = prompt.likeness.cpu().numpy()
        cv2 = self._cv2
        mask = np.full(likeness.shape, cv2.GC_BGD, np.uint8)
        for sizes, label in ((PERHAPS, cv2.GC_PR_BGD), (PROBABLY, cv2.GC_PR_FGD)):
            mask[likeness >= np.quantile(likeness, max(0.0, 1 - sizes * prompt.share))] = label
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            rows, columns = np.indices(mask.shape)
            outside = (columns < x0 - MARGIN) | (columns > x1 + MARGIN)
            outside |= (rows < y0 - MARGIN) | (rows > y1 + MARGIN)
            mask[outside] = cv2.GC_BGD
        rows, columns = np.indices(mask.shape)
        for (x, y), label in zip(prompt.points.tolist(), prompt.labels.tolist(), strict=True):
            near = (rows - y) ** 2 + (columns - x) ** 2 <= RADIUS**2
            mask[near] = cv2.GC_FGD if label else cv2.GC_BGD
        return mask


def build_grabcut(path: str) -> GrabCut:
    """GrabCut; there is nothing to read.

    Raises:
        ConfigError: OpenCV is not installed.
    """
    if path:
        raise ConfigError(f"segmenter: grabcut takes nothing after the colon, got {path!r}")
    return GrabCut()


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            f"segmenter: grabcut needs OpenCV, which cannot be imported ({error}); install "
            "opencv-python-headless (extra grabcut), or take segmenter random_walk"
        ) from error
    return cv2
