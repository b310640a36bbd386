"""What masked agents see, as pictures, and films of plain and masked agents side by side.

Legend: H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sam2act.evaluation.analysis.methods import Method
from sam2act.reports.images import enlarge_and_mark
from sam2act.reports.page import Page
from sam2act.reports.videos import Film, films_of, show

COLUMNS = ("plain", "points found", "mask", "masked")
SIDE = 168  # pixels of one enlarged picture
_GAP, _LEFT, _LINE, _TEXT_SIZE = 4, 128, 20, 14
_INK, _FAINT = (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Look:
    """One camera's picture, and what was found in it.

    Attributes:
        name: of the factor under which it was taken.
        rgb: (H, W, 3) uint8.
        points: (P, 3) x, y and 1 on the object or 0 beside it.
        mask: (H, W) bool, what is kept.
        truth: (H, W) bool, what should be; None = unknown.
    """

    name: str
    rgb: np.ndarray
    points: np.ndarray
    mask: np.ndarray
    truth: np.ndarray | None = None

    @property
    def overlap(self) -> float | None:
        """Intersection over union of mask and truth."""
        if self.truth is None or not (self.mask | self.truth).any():
            return None
        return float((self.mask & self.truth).sum() / (self.mask | self.truth).sum())


def mask_sheet(looks: Sequence[Look]) -> Image.Image:
    """A row per picture: plain, with the points found, the mask, masked.

    Green circles are points on the object, blue crosses points beside it.
    """
    size = (_LEFT + len(COLUMNS) * (SIDE + _GAP), _LINE + len(looks) * (SIDE + _GAP))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_SIZE)
    for column, title in enumerate(COLUMNS):
        draw.text((_LEFT + column * (SIDE + _GAP), 1), title, fill=_FAINT, font=font)
    for row, look in enumerate(looks):
        top = _LINE + row * (SIDE + _GAP)
        draw.text((2, top + 2), look.name.replace("_", "\n"), fill=_INK, font=font)
        if look.overlap is not None:
            draw.text((2, top + SIDE - _LINE), f"IoU {look.overlap:.2f}", fill=_FAINT, font=font)
        for column, picture in enumerate(_pictures(look)):
            sheet.paste(picture, (_LEFT + column * (SIDE + _GAP), top))
    return sheet


def _pictures(look: Look) -> list[Image.Image]:
    white = np.repeat(look.mask[..., None], 3, axis=2).astype(np.uint8) * 255
    marked = enlarge_and_mark(look.rgb, SIDE)
    for x, y, label in look.points.tolist():
        _mark(marked, (x + 0.5) * SIDE / look.rgb.shape[1], (y + 0.5) * SIDE / len(look.rgb), label)
    plain, mask = enlarge_and_mark(look.rgb, SIDE), enlarge_and_mark(white, SIDE)
    return [plain, marked, mask, enlarge_and_mark(look.rgb * look.mask[..., None], SIDE)]


def _mark(picture: Image.Image, x: float, y: float, label: float) -> None:
    draw, radius = ImageDraw.Draw(picture), SIDE / 28
    if label:
        for extent, color in ((radius + 1, "white"), (radius, "#00a650")):
            box = (x - extent, y - extent, x + extent, y + extent)
            draw.ellipse(box, outline=color, width=2)
        return
    for color, width in (("white", 4), ("#1020d0", 2)):
        draw.line((x - radius, y - radius, x + radius, y + radius), fill=color, width=width)
        draw.line((x - radius, y + radius, x + radius, y - radius), fill=color, width=width)


def add_films(page: Page, methods: Sequence[Method], task: str, limit: int) -> None:
    """Films of the same scene by different agents, side by side, as long as they fit.

    Args:
        page: the page.
        methods: evaluations of the agents.
        task: of the films.
        limit: bytes that all films may take.
    """
    page.heading("The same scenes, acted in by all")
    scenes: dict[tuple[str, int], list[Film]] = {}
    for method in methods:
        for film in films_of(method, task):
            scenes.setdefault((method.perturbation, film.row.episode), []).append(film)
    used = left_out = 0
    for (perturbation, episode), films in sorted(scenes.items()):
        size = sum(film.path.stat().st_size for film in films) * 4 // 3  # as base64
        if len(films) < 2 or used + size > limit:
            left_out += 1
            continue
        used += size
        page.subheading(f"{perturbation or 'unperturbed'}, episode {episode}")
        with page.row():
            for film in films:
                show(page, film)
    if left_out:
        page.text(f"Left out: {left_out} scenes, filmed of one agent alone or beyond the size.")
    if not scenes:
        page.text("No episode was filmed; evaluate with --save-video.")
