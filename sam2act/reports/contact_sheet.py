"""Episodes at a glance: one row of pictures per episode and camera, with the instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP, _CAPTION, _TEXT_SIZE = 2, 20, 13
_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Strip:
    """One episode.

    Attributes:
        title: text above the rows; may be empty.
        labels: one short text per column.
        rows: per camera the pictures (H, W, 3) uint8 of all columns.
    """

    title: str
    labels: Sequence[str]
    rows: Sequence[Sequence[np.ndarray]]


def contact_sheet(strips: Sequence[Strip]) -> Image.Image:
    """All strips below each other on white paper."""
    side = strips[0].rows[0][0].shape[0]
    columns = max(len(strip.labels) for strip in strips)
    width = max(columns * (side + _GAP) + _GAP, 360)
    heights = [_header(strip) + len(strip.rows) * (side + _GAP) for strip in strips]
    sheet = Image.new("RGB", (width, sum(heights) + _GAP), _PAPER)
    top = 0
    for strip, height in zip(strips, heights, strict=True):
        _draw_strip(sheet, strip, top, side)
        top += height
    return sheet


def _header(strip: Strip) -> int:
    """Pixels above the pictures: a line for the title, if there is one, and one for the labels."""
    return _CAPTION * (2 if strip.title else 1)


def _draw_strip(sheet: Image.Image, strip: Strip, top: int, side: int) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_SIZE)
    draw.text((_GAP, top + 2), strip.title, fill=_INK, font=font)
    top += _header(strip)
    for column, label in enumerate(strip.labels):
        left = _GAP + column * (side + _GAP)
        draw.text((left, top - _CAPTION + 1), label, fill=_FAINT, font=font)
        for number, row in enumerate(strip.rows):
            place = (left, top + number * (side + _GAP))
            sheet.paste(Image.fromarray(row[column]), place)
