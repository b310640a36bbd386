"""Heat maps over views, marks at the right pixel, pictures in a row."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from sam2act.reports.images import (
    EMPTY_COLOR,
    HEAT_COLOR,
    PREDICTION_COLOR,
    TARGET_COLOR,
    data_uri,
    enlarge_and_mark,
    overlay_heatmap,
    side_by_side,
)

SIZE, SIDE = 8, 160
SCALE = SIDE // SIZE


def black() -> np.ndarray:
    return np.zeros((SIZE, SIZE, 3), dtype=np.uint8)


def center_of(image: Image.Image, color: str) -> tuple[float, float]:
    """Mean (column, row) of the pixels of a colour, measured to pixel centres."""
    rows, columns = np.nonzero((np.asarray(image) == ImageColor.getrgb(color)).all(-1))
    assert len(rows), "the mark is absent"
    return columns.mean() + 0.5, rows.mean() + 0.5


# ---------------------------------------------------------------------------------- heat maps
def test_no_probability_leaves_the_view() -> None:
    rgb = np.random.default_rng(0).random((3, SIZE, SIZE))
    picture = overlay_heatmap(rgb, np.ones((SIZE, SIZE), bool), np.zeros((SIZE, SIZE)))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, np.floor(rgb.transpose(1, 2, 0) * 255 + 0.5))


def test_empty_pixels_get_their_own_color() -> None:
    seen = np.ones((SIZE, SIZE), bool)
    seen[2, 5] = False
    picture = overlay_heatmap(np.zeros((3, SIZE, SIZE)), seen, np.zeros((SIZE, SIZE)))
    np.testing.assert_allclose(picture[2, 5] / 255, EMPTY_COLOR, atol=0.003)
    assert picture.any(-1).sum() == 1


def test_peak_is_brightest_whatever_the_scale() -> None:
    probability = np.zeros((SIZE, SIZE))
    probability[6, 1], probability[3, 3] = 0.4, 0.1
    seen = np.ones((SIZE, SIZE), bool)
    picture, same = (
        overlay_heatmap(np.zeros((3, SIZE, SIZE)), seen, factor * probability)
        for factor in (1.0, 1e-3)
    )
    np.testing.assert_array_equal(picture, same)
    np.testing.assert_allclose(picture[6, 1] / 255, 0.85 * np.array(HEAT_COLOR), atol=0.003)
    np.testing.assert_allclose(picture[3, 3] / picture[6, 1], 0.5, atol=0.02)  # square root
    assert picture.any(-1).sum() == 2


# -------------------------------------------------------------------------------------- marks
@pytest.mark.parametrize("position", [(1.5, 6.0), (4.0, 4.0), (6.25, 2.5)])
@pytest.mark.parametrize("mark", ["target", "prediction"])
def test_marks_are_centred_on_their_position(mark: str, position: tuple[float, float]) -> None:
    image = enlarge_and_mark(black(), SIDE, **{mark: position})
    assert image.size == (SIDE, SIDE)
    color = {"target": TARGET_COLOR, "prediction": PREDICTION_COLOR}[mark]
    column, row = center_of(image, color)
    assert column == pytest.approx(position[0] * SCALE, abs=1)
    assert row == pytest.approx(position[1] * SCALE, abs=1)


def test_circle_leaves_the_peak_visible_and_both_marks_can_be_drawn() -> None:
    image = enlarge_and_mark(black(), SIDE, target=(4, 4), prediction=(4, 4))
    center_of(image, TARGET_COLOR)
    center_of(image, PREDICTION_COLOR)
    alone = np.asarray(enlarge_and_mark(black(), SIDE, target=(4, 4)))
    assert not alone[4 * SCALE, 4 * SCALE].any()


def test_marks_outside_the_picture_do_no_harm() -> None:
    image = enlarge_and_mark(black(), SIDE, target=(-30, 90), prediction=(90, -30))
    assert not np.asarray(image).any()


def test_enlarging_keeps_pixels_sharp() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    large = np.asarray(enlarge_and_mark(picture, SIDE))
    np.testing.assert_array_equal(large, picture.repeat(SCALE, 0).repeat(SCALE, 1))


# ------------------------------------------------------------------------------- whole pictures
def test_row_of_pictures() -> None:
    colors = ("red", "green", "blue")
    row = side_by_side([Image.new("RGB", (10, 7), color) for color in colors], gap=3)
    assert row.size == (36, 7)
    seen = [row.getpixel((x, 3)) for x in (5, 11, 18, 31)]
    assert seen == [ImageColor.getrgb(name) for name in ("red", "white", "green", "blue")]


def test_data_uri_holds_the_picture() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8))
    head, _, body = data_uri(image).partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(body, validate=True))) as decoded:
        np.testing.assert_array_equal(np.asarray(decoded), np.asarray(image))
