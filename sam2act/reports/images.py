"""Rendered views with heat maps and marks, as PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

EMPTY_COLOR = (0.93, 0.93, 0.91)  # where a view shows no point
HEAT_COLOR = (0.93, 0.15, 0.1)
TARGET_COLOR = "#00a650"
PREDICTION_COLOR = "#1020d0"


def overlay_heatmap(rgb: np.ndarray, seen: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Blend a heat map over a rendered view.

    Args:
        rgb: (3, S, S) in [0, 1].
        seen: (S, S) bool, pixels that show a point.
        probability: (S, S), non-negative; scaled by its maximum.

    Returns:
        (S, S, 3) uint8.
    """
    picture = np.where(seen[..., None], rgb.transpose(1, 2, 0), np.array(EMPTY_COLOR))
    strength = np.sqrt(probability / max(float(probability.max()), 1e-12))[..., None]
    picture = picture * (1 - 0.85 * strength) + np.array(HEAT_COLOR) * 0.85 * strength
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)


def enlarge_and_mark(
    picture: np.ndarray,
    side: int,
    *,
    target: Sequence[float] | np.ndarray | None = None,
    prediction: Sequence[float] | np.ndarray | None = None,
) -> Image.Image:
    """Enlarge without smoothing and mark positions.

    Args:
        picture: (S, S, 3) uint8.
        side: pixels of the result.
        target: true (column, row) in pixels of `picture`; a green circle.
        prediction: predicted (column, row); a blue cross.
    """
    image = Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)
    scale = side / picture.shape[0]
    draw = ImageDraw.Draw(image)
    radius = side / 28
    if target is not None:
        x, y = (value * scale for value in target)
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, outline=TARGET_COLOR, width=max(2, side // 100))
    if prediction is not None:
        x, y = (value * scale for value in prediction)
        for start, stop in (((-1, 0), (1, 0)), ((0, -1), (0, 1))):
            points = [(x + radius * dx, y + radius * dy) for dx, dy in (start, stop)]
            draw.line(points, fill=PREDICTION_COLOR, width=max(2, side // 120))
    return image


def side_by_side(images: Sequence[Image.Image], gap: int = 6) -> Image.Image:
    """A row of pictures of equal height."""
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    row = Image.new("RGB", (width, images[0].height), "white")
    x = 0
    for image in images:
        row.paste(image, (x, 0))
        x += image.width + gap
    return row


def data_uri(image: Image.Image) -> str:
    """The picture as a PNG inside a URI, for pages without other files."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
