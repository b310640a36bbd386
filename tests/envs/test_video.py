"""Films can be read back and appear only when they are complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2act.envs import video
from sam2act.envs.video import check_video_path, write_video

FRAMES = [np.full((32, 48, 3), value, np.uint8) for value in (0, 120, 250)]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animation_holds_every_frame(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"film{suffix}", FRAMES, rate=10)
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (3, (48, 32))
        film.seek(2)
        assert np.asarray(film.convert("RGB")).mean() == pytest.approx(250, abs=3)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_mp4_holds_every_frame(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = write_video(tmp_path / "new" / "film.MP4", FRAMES, rate=0.4)
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert float(film.streams.video[0].average_rate) == pytest.approx(0.4)
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 3
    assert frames[1].mean() == pytest.approx(120, abs=6)


def test_failed_film_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "film.gif", [], rate=10)
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffix_and_missing_encoder_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="film ends in .mp4, .gif, .webp"):
        check_video_path("film.avi")
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="PyAV"):
        check_video_path("film.mp4")
