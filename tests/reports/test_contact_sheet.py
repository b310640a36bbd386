"""Contact sheets and film frames hold every picture at its place."""

from __future__ import annotations

import numpy as np

from sam2act.reports.contact_sheet import Strip, contact_sheet
from sam2act.reports.film import film_frame


def plain(value: int, side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def test_sheet_shows_every_picture_of_every_strip() -> None:
    strips = [
        Strip("first", ["a", "b"], [[plain(11), plain(12)], [plain(13), plain(14)]]),
        Strip("", ["c"], [[plain(15)]]),
    ]
    pixels = np.asarray(contact_sheet(strips))
    for value in range(11, 16):
        assert (pixels == value).all(axis=-1).sum() == 32 * 32
    rows = {
        value: np.argwhere((pixels == value).all(axis=-1)).min(axis=0) for value in (11, 13, 15)
    }
    assert rows[11][0] < rows[13][0] < rows[15][0]


def test_film_frame_has_even_sides_and_all_views() -> None:
    views = {name: plain(20 + number) for number, name in enumerate("abcd")}
    frame = film_frame(plain(10, 64), views, "word " * 60, "keyframe 3")
    assert frame.shape == (64 + 48, 128, 3)
    assert (frame == 10).all(axis=-1).sum() == 64 * 64
    for value in range(20, 24):
        assert (frame == value).all(axis=-1).sum() > 0.6 * 32 * 32  # a label covers a little
