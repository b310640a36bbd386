"""Reading episode folders: what is needed, and what is said when it is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2act.data.rlbench.demo_images import image_path, read_images
from sam2act.data.rlbench.demos import (
    camera_arrays,
    episode_keyframes,
    frame_labels,
    list_episodes,
    read_episode,
)
from sam2act.data.rlbench.types import Demo, DemoError, RecordedObservation, dump_published
from sam2act.data.transitions import shown_frames
from tests.data.synthetic_demos import (
    CAMERAS,
    IMAGE_SIZE,
    KEYFRAMES,
    write_synthetic_demo,
    write_synthetic_task,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "episode4"
    write_synthetic_demo(folder, seed=4, instruction="close the jar")
    return folder


def test_episode_is_read_without_images(tmp_path: Path) -> None:
    folder = tmp_path / "episode12"
    demo = write_synthetic_demo(folder, images="none", seed=5, instruction="close the jar")
    episode = read_episode(folder)
    assert (episode.number, episode.variation_number, episode.random_seed) == (12, 5, 5)
    assert episode.instruction == "close the jar" and len(episode.descriptions) == 2
    assert episode_keyframes(episode) == list(KEYFRAMES)
    np.testing.assert_array_equal(
        frame_labels(episode).gripper_pose, np.stack([o.gripper_pose for o in demo])
    )


def test_sparse_images_suffice(folder: Path) -> None:
    episode = read_episode(folder)
    frames = shown_frames(len(episode.demo), episode_keyframes(episode))
    assert not image_path(folder, CAMERAS[0], "rgb", 1).exists()
    images = read_images(folder, frames, CAMERAS, IMAGE_SIZE)
    assert images.shape == (len(frames), 2, len(CAMERAS), IMAGE_SIZE, IMAGE_SIZE, 3)
    for row, frame in enumerate(frames):
        for column, camera in enumerate(CAMERAS):
            for plane, kind in enumerate(("rgb", "depth")):
                with Image.open(image_path(folder, camera, kind, frame)) as image:
                    np.testing.assert_array_equal(images[row, plane, column], np.asarray(image))


def test_camera_order_follows_the_request(folder: Path) -> None:
    episode = read_episode(folder)
    forward = camera_arrays(episode, [0, 12], CAMERAS)
    backward = camera_arrays(episode, [0, 12], CAMERAS[::-1])
    for ahead, back in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(ahead, back[:, ::-1])
    np.testing.assert_array_equal(
        forward.extrinsics[1, 1], episode.demo[12].misc["wrist_camera_extrinsics"]
    )


def test_other_image_size_names_file_and_key(folder: Path) -> None:
    with pytest.raises(DemoError, match=r"0\.png.*16 x 16.*image_size is 32"):
        read_images(folder, [0], CAMERAS, 32)


def test_absent_image_names_file(folder: Path) -> None:
    image_path(folder, "wrist", "depth", 12).unlink()
    with pytest.raises(DemoError, match=r"wrist_depth/12\.png.*absent"):
        read_images(folder, [0, 12], CAMERAS, IMAGE_SIZE)


@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_truncated_image_names_file(folder: Path, keep: float) -> None:
    path = image_path(folder, "front", "rgb", 0)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep != 0.5 else len(content) / 2)])
    with pytest.raises(DemoError, match=r"front_rgb/0\.png.*again"):
        read_images(folder, [0], CAMERAS, IMAGE_SIZE)


def test_image_of_another_mode_is_refused(folder: Path) -> None:
    path = image_path(folder, "front", "depth", 0)
    Image.fromarray(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint16)).save(path)
    with pytest.raises(DemoError, match=r"front_depth/0\.png.*8-bit RGB"):
        read_images(folder, [0], CAMERAS, IMAGE_SIZE)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("low_dim_obs.pkl", [1, 2], "instead of an RLBench demo"),
        ("variation_descriptions.pkl", [], "at least one instruction"),
        ("variation_descriptions.pkl", "open", "at least one instruction"),
        ("variation_number.pkl", "two", "needs an integer"),
    ],
)
def test_pickle_with_other_content(folder: Path, name: str, content, message: str) -> None:
    dump_published(content, folder / name)
    with pytest.raises(DemoError, match=f"{name}.*{message}"):
        read_episode(folder)


@pytest.mark.parametrize(
    "name", ["low_dim_obs.pkl", "variation_descriptions.pkl", "variation_number.pkl"]
)
def test_absent_pickle(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DemoError, match=name):
        read_episode(folder)


@pytest.mark.parametrize("num_frames", [0, 1])
def test_demo_without_keyframes(folder: Path, num_frames: int) -> None:
    observations = read_episode(folder).demo._observations[:num_frames]
    dump_published(Demo(observations, 0), folder / "low_dim_obs.pkl")
    with pytest.raises(DemoError, match=r"low_dim_obs\.pkl.*no keyframes"):
        episode_keyframes(read_episode(folder))


@pytest.mark.parametrize("kind", ["extrinsics", "intrinsics", "near", "far"])
def test_missing_calibration_names_the_key(folder: Path, kind: str) -> None:
    demo = read_episode(folder).demo
    del demo[12].misc[f"wrist_camera_{kind}"]
    dump_published(demo, folder / "low_dim_obs.pkl")
    episode = read_episode(folder)
    camera_arrays(episode, [0], CAMERAS)
    with pytest.raises(DemoError, match=f"wrist_camera_{kind}.*cameras"):
        camera_arrays(episode, [0, 12], CAMERAS)


@pytest.mark.parametrize("name", ["gripper_pose", "joint_velocities", "ignore_collisions"])
def test_missing_field_names_it(folder: Path, name: str) -> None:
    demo = read_episode(folder).demo
    setattr(demo[3], name, None)
    dump_published(demo, folder / "low_dim_obs.pkl")
    episode = read_episode(folder)
    with pytest.raises(DemoError, match=f"low_dim_obs.pkl.*{name}"):
        episode_keyframes(episode)
        frame_labels(episode)


def test_episodes_are_listed_by_number(tmp_path: Path) -> None:
    write_synthetic_task(tmp_path, episodes=[10, 2, 9], images="none")
    (tmp_path / "train/open_drawer/all_variations/episodes/notes").mkdir()
    assert list_episodes(tmp_path, "train", "open_drawer") == [2, 9, 10]
    with pytest.raises(DemoError, match="data_folder"):
        list_episodes(tmp_path, "val", "open_drawer")


def test_stand_in_without_seed_is_accepted(folder: Path) -> None:
    demo = read_episode(folder).demo
    del demo.random_seed
    dump_published(demo, folder / "low_dim_obs.pkl")
    assert read_episode(folder).random_seed is None
    assert isinstance(read_episode(folder).demo[0], RecordedObservation)
