"""What is written can be read back, by our reader and in the layout of RLBench."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam2act.data.rlbench.demo_images import image_path, read_images
from sam2act.data.rlbench.demo_writer import write_episode
from sam2act.data.rlbench.demos import camera_arrays, read_episode
from sam2act.data.rlbench.types import Demo, RecordedObservation
from sam2act.geometry.cameras import decode_depth

SIDE = 8


def make_demo(frames_with_images: set[int], frames: int = 4) -> Demo:
    random = np.random.default_rng(0)
    observations = []
    for frame in range(frames):
        images = {}
        if frame in frames_with_images:
            images = {
                "front_rgb": random.integers(0, 256, (SIDE, SIDE, 3), np.uint8),
                "front_depth": random.uniform(0.5, 4.0, (SIDE, SIDE)).astype(np.float32),
                "front_mask": random.integers(0, 70000, (SIDE, SIDE)),
            }
        observations.append(
            RecordedObservation(
                **{f"front_{kind}": None for kind in ("rgb", "depth", "mask")} | images,
                wrist_rgb=None,
                gripper_open=float(frame < 2),
                misc={
                    "front_camera_near": 0.01,
                    "front_camera_far": 4.5,
                    "front_camera_intrinsics": np.eye(3),
                    "front_camera_extrinsics": np.eye(4),
                },
            )
        )
    return Demo(observations, random_seed=17, variation_number=2)


def test_round_trip(tmp_path: Path) -> None:
    demo, folder = make_demo({0, 3}), tmp_path / "episodes" / "episode5"
    write_episode(folder, demo, ["close the jar", "shut it"], ["front", "wrist"])
    episode = read_episode(folder)
    assert (episode.number, episode.instruction, episode.variation_number) == (
        5,
        "close the jar",
        2,
    )
    assert episode.descriptions == ("close the jar", "shut it")
    assert episode.random_seed == 17 and len(episode.demo) == 4
    assert [o.gripper_open for o in episode.demo] == [1.0, 1.0, 0.0, 0.0]
    assert episode.demo[0].front_rgb is None  # images live in the PNGs
    assert demo[0].front_rgb is not None  # what was given stays whole
    images = read_images(folder, [0, 3], ["front"], SIDE)
    near_far = camera_arrays(episode, [0, 3], ["front"]).depth_range
    depth = decode_depth(torch.from_numpy(images[:, 1]), *torch.from_numpy(near_far).unbind(-1))
    for row, frame in enumerate((0, 3)):
        assert np.array_equal(images[row, 0, 0], demo[frame].front_rgb)
        assert np.abs(depth[row, 0].numpy() - demo[frame].front_depth).max() < 3e-7
    assert sorted(path.name for path in (folder / "front_rgb").iterdir()) == ["0.png", "3.png"]
    assert not (folder / "wrist_rgb").exists()


def test_masks_are_coded_in_three_bytes(tmp_path: Path) -> None:
    demo = make_demo({0})
    write_episode(tmp_path / "episode0", demo, ["x"], ["front"])
    code = np.asarray(Image.open(image_path(tmp_path / "episode0", "front", "mask", 0))).astype(int)
    assert np.array_equal(code @ [1, 256, 65536], demo[0].front_mask)


def test_pickles_name_the_classes_of_rlbench(tmp_path: Path) -> None:
    write_episode(tmp_path / "episode0", make_demo(set()), ["x"], [])
    content = (tmp_path / "episode0" / "low_dim_obs.pkl").read_bytes()
    strings = {arg for op, arg, _ in pickletools.genops(content) if "UNICODE" in op.name}
    assert {"rlbench.demo", "Demo", "rlbench.backend.observation", "Observation"} <= strings
    assert not any(text.startswith("sam2act") for text in strings)
    with pytest.raises(ModuleNotFoundError, match="rlbench"):
        pickle.loads(content)


def test_existing_episode_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "episode0"
    write_episode(folder, make_demo({0, 1, 2}), ["x"], ["front"])
    write_episode(folder, make_demo({0}), ["y"], ["front"])
    assert [path.name for path in (folder / "front_rgb").iterdir()] == ["0.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["episode0"]


def test_interrupted_writing_leaves_no_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam2act.data.rlbench import demo_writer

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(demo_writer, "dump_published", fail)
    with pytest.raises(OSError, match="disk full"):
        write_episode(tmp_path / "episode0", make_demo({0}), ["x"], ["front"])
    assert list(tmp_path.iterdir()) == []


def test_remains_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / "episode0.part-123" / "front_rgb").mkdir(parents=True)
    write_episode(tmp_path / "episode0", make_demo(set()), ["x"], [])
    assert [path.name for path in tmp_path.iterdir()] == ["episode0"]
