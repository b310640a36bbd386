"""Cropped demos: other pictures, the same points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam2act.cli import crop_demos
from sam2act.data.rlbench.demo_crops import centred_grid, crop_episode
from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.demo_images import image_path, read_picture
from sam2act.data.rlbench.demos import camera_arrays, read_episode
from sam2act.data.rlbench.types import DemoError
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.geometry.cameras import decode_depth, unproject
from tests.data.synthetic_demos import CAMERAS, KEYFRAMES, write_synthetic_demo


def _points(folder: Path, camera: str, frame: int) -> torch.Tensor:
    """(H, W, 3) points of one image."""
    arrays = camera_arrays(read_episode(folder), [frame], [camera])
    near, far = torch.from_numpy(arrays.depth_range[0, 0])
    code = torch.tensor(read_picture(image_path(folder, camera, "depth", frame), "depth"))
    depth = decode_depth(code[None], near[None], far[None])
    intrinsics, extrinsics = (torch.from_numpy(a[0, 0])[None] for a in arrays[1:])
    return unproject(depth, intrinsics, extrinsics)[0]


def _write_oblong(folder: Path) -> None:
    """Demos whose front camera has 24 x 24 pixels, of which the lowest four rows are missing."""
    write_synthetic_demo(folder, image_size=24)
    for path in folder.glob("front_*/*.png"):
        with Image.open(path) as image:
            image.crop((0, 0, 24, 20)).save(path)


@pytest.mark.parametrize(("size", "step"), [(8, 2), (10, 2), (16, 1), (20, 1)])
def test_each_kept_pixel_gives_its_old_point(tmp_path: Path, size: int, step: int) -> None:
    _write_oblong(tmp_path / "episode0")
    crop_episode(tmp_path / "episode0", tmp_path / "new" / "episode0", size)
    grid = centred_grid(24, 20, size)
    assert grid.step == step
    for frame in (0, KEYFRAMES[0]):
        old = _points(tmp_path / "episode0", "front", frame)
        new = _points(tmp_path / "new" / "episode0", "front", frame)
        rows = slice(grid.top, grid.top + size * step, step)
        columns = slice(grid.left, grid.left + size * step, step)
        torch.testing.assert_close(new, old[rows, columns], atol=1e-9, rtol=0)


def test_the_grid_stands_in_the_middle() -> None:
    for width, height, size in ((640, 480, 128), (24, 20, 8), (16, 16, 16), (17, 16, 16)):
        grid = centred_grid(width, height, size)
        right = width - 1 - (grid.left + (size - 1) * grid.step)
        low = height - 1 - (grid.top + (size - 1) * grid.step)
        assert 0 <= right - grid.left <= 1 and 0 <= low - grid.top <= 1
    with pytest.raises(DemoError, match="24 x 20 pixels hold no 32 x 32; choose a smaller"):
        centred_grid(24, 20, 32)


def test_the_command_makes_demos_that_a_store_takes(tmp_path: Path, capsys) -> None:
    for number in (0, 1):
        folder = episodes_folder(tmp_path / "old", "train", "lift") / f"episode{number}"
        _write_oblong(folder)
    command = ["--data", str(tmp_path / "old"), "--output", str(tmp_path / "new")]
    assert crop_demos.main([*command, "--image-size", "16"]) == 0
    assert "2 demos of 16 x 16 pixels" in capsys.readouterr().out
    request = StoreRequest(
        tmp_path / "new", tmp_path / "store", demo=2, cameras=CAMERAS, image_size=16
    )
    assert len(ensure_store(request, ["lift"], progress=False).valid)
    assert crop_demos.main([*command, "--image-size", "16"]) == 2
    assert "is there already; choose another --output" in capsys.readouterr().err
    assert crop_demos.main(["--data", str(tmp_path / "none"), "--output", "x"]) == 2
    assert "no such folder; set --data to" in capsys.readouterr().err


def test_a_camera_with_images_of_two_sizes_is_refused_whole(tmp_path: Path) -> None:
    _write_oblong(tmp_path / "episode0")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "episode0/front_depth/0.png")
    with pytest.raises(DemoError, match=r"front_depth/0.png: has 8 x 8 pixels, but other images"):
        crop_episode(tmp_path / "episode0", tmp_path / "new" / "episode0", 8)
    assert list((tmp_path / "new").iterdir()) == []
