"""Images of episodes: what is read, and what is said of those that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2act.data.rlbench.demo_images import read_images, recorded_cameras, size_remedy
from sam2act.data.rlbench.types import DemoError
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, write_synthetic_demo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_synthetic_demo(tmp_path / "episode0")
    return tmp_path / "episode0"


def _resize(folder: Path, pattern: str, size: tuple[int, int]) -> None:
    for path in folder.glob(f"{pattern}/*.png"):
        with Image.open(path) as image:
            image.resize(size, Image.Resampling.NEAREST).save(path)


def _message(folder: Path, cameras=CAMERAS, image_size: int = IMAGE_SIZE) -> str:
    with pytest.raises(DemoError) as error:
        read_images(folder, [0], cameras, image_size)
    return str(error.value)


def test_one_other_size_names_the_value_to_set(folder: Path) -> None:
    message = _message(folder, image_size=32)
    assert "16 x 16 pixels (width x height), but image_size is 32" in message
    assert message.endswith("set image_size to 16")


def test_images_that_are_not_square(folder: Path) -> None:
    _resize(folder, "*", (24, 16))
    message = _message(folder)
    assert "24 x 16 pixels" in message and "must be square" in message
    assert "crop_demos.py" in message and "set image_size" not in message


def test_cameras_of_different_size_are_listed(folder: Path) -> None:
    _resize(folder, "wrist_*", (24, 24))
    message = _message(folder)
    assert "(front: 16 x 16; wrist: 24 x 24)" in message and "key cameras" in message
    _resize(folder, "wrist_rgb", (16, 16))
    assert "front, wrist_rgb: 16 x 16; wrist_depth: 24 x 24" in _message(folder)


def test_the_remedy_follows_the_sizes() -> None:
    assert size_remedy({"a": (8, 8), "b": (8, 8)}).endswith("set image_size to 8")
    assert "square" in size_remedy({"a": (8, 6)})
    assert "a, c: 8 x 8; b: 6 x 6" in size_remedy({"a": (8, 8), "b": (6, 6), "c": (8, 8)})


def test_a_camera_that_was_not_recorded(folder: Path) -> None:
    (folder / "overhead_rgb").mkdir()  # colour alone is no camera
    message = _message(folder, ("front", "overhead"))
    assert "overhead_depth: no such folder" in message or "overhead_rgb" in message
    message = _message(folder, ("left_shoulder",))
    assert "left_shoulder_rgb: no such folder" in message
    assert "cameras with images in this episode: front, wrist." in message


def test_tools_of_editors_are_no_cameras(folder: Path) -> None:
    for name in (".ipynb_checkpoints", "front_rgb/.ipynb_checkpoints"):
        (folder / name).mkdir()
    assert recorded_cameras(folder) == sorted(CAMERAS)
    assert read_images(folder, [0], CAMERAS, IMAGE_SIZE).shape[:3] == (1, 2, 2)


@pytest.mark.parametrize("suffix", ["0000.png", "0.jpg", "rgb_0.png"])
def test_images_called_otherwise(folder: Path, suffix: str) -> None:
    for path in (folder / "front_rgb").iterdir():
        path.unlink()
    Image.new("RGB", (16, 16)).save(folder / "front_rgb" / suffix)
    message = _message(folder)
    assert f"holds {suffix}" in message and "without leading zeros" in message
    assert "copy the episode" not in message


def test_depth_must_not_be_compressed_with_loss(folder: Path) -> None:
    path = folder / "front_depth" / "0.png"
    with Image.open(path) as image:
        image.save(path, format="JPEG")
    assert "0.png: is a JPEG" in _message(folder)


@pytest.mark.parametrize(
    ("kind", "mode", "remedy"), [("rgb", "L", "convert"), ("depth", "I;16", "encode_depth")]
)
def test_other_modes_name_how_to_convert(folder: Path, kind: str, mode: str, remedy: str) -> None:
    pixels = np.zeros((16, 16), np.uint16 if mode == "I;16" else np.uint8)
    Image.fromarray(pixels).save(folder / f"front_{kind}" / "0.png")
    message = _message(folder)
    assert f"mode {mode}" in message and remedy in message and "record" not in message
