"""One picture of a film: a large view, four small ones and a caption."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_LINE, _TEXT_SIZE, _LINES = 16, 13, 3
_BACKGROUND, _INK, _FAINT = (24, 26, 30), (240, 240, 240), (150, 155, 165)


def film_frame(
    large: np.ndarray, views: Mapping[str, np.ndarray], caption: str, status: str
) -> np.ndarray:
    """A frame of a film.

    Args:
        large: (2 S, 2 S, 3) uint8.
        views: four pictures (S, S, 3) uint8 by name.
        caption: the instruction; wrapped to two lines.
        status: a short text in the last line.

    Returns:
        (2 S + 48, 4 S, 3) uint8; even sizes, as video codecs want them.
    """
    side = large.shape[0]
    half = side // 2
    frame = Image.new("RGB", (2 * side, side + _LINES * _LINE), _BACKGROUND)
    frame.paste(Image.fromarray(large), (0, 0))
    draw, font = ImageDraw.Draw(frame), ImageFont.load_default(_TEXT_SIZE)
    for number, (name, picture) in enumerate(views.items()):
        place = (side + half * (number % 2), half * (number // 2))
        frame.paste(Image.fromarray(picture), place)
        draw.text((place[0] + 3, place[1] + 1), name.replace("_", " "), fill=_INK, font=font)
    letters = int(2 * side / (0.52 * _TEXT_SIZE))
    for number, line in enumerate(textwrap.wrap(caption, letters)[: _LINES - 1]):
        draw.text((4, side + number * _LINE), line, fill=_INK, font=font)
    draw.text((4, side + (_LINES - 1) * _LINE), status, fill=_FAINT, font=font)
    return np.asarray(frame)
