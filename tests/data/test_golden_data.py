"""The data path against stored values of the published code.

What starts from images needs the recorded demos (SAM2ACT_DEMOS_DIR). The records are also made
from the labels that the golden file itself holds, and clouds from its depths.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sam2act.config.experiment import ExperimentConfig
from sam2act.data.loader import gather_batch
from sam2act.data.peract_replay.replay import ReplayRequest, import_replay
from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.demo_images import read_images
from sam2act.data.rlbench.demos import (
    camera_arrays,
    episode_keyframes,
    frame_labels,
    read_episode,
)
from sam2act.data.samplers import build_sampler
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.transitions import PADDING, START_EVERY, TIME_FEATURE_LENGTH
from sam2act.geometry.cameras import decode_depth, unproject
from tests.data.golden_records import store_of_labels
from tests.data.peract_replay.replay_writer import assert_same_samples, write_replay
from tests.golden_files import GoldenFile, demos_dir, golden

golden_data = golden("data_open_drawer.json")
_stores: dict[Path, KeyframeStore] = {}


def _episode_folder(content: dict[str, Any], number: int) -> Path:
    folder = episodes_folder(demos_dir(), content["split"], content["task"]) / f"episode{number}"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


def _request(content: dict[str, Any], store_folder: Path, numbers: list[int]) -> StoreRequest:
    return StoreRequest(
        demos_dir(),
        store_folder,
        split=content["split"],
        demo_start=min(numbers),
        demo=max(numbers) - min(numbers) + 1,
        cameras=tuple(content["constants"]["cameras"]),
        image_size=content["constants"]["image_size"],
    )


@pytest.fixture
def store(golden_file: GoldenFile, tmp_path_factory: pytest.TempPathFactory) -> KeyframeStore:
    """A store of exactly the listed episodes, built once per golden file."""
    if golden_file.path not in _stores:
        content = golden_file.json()
        numbers = [episode["episode"] for episode in content["episodes"]]
        demos = tmp_path_factory.mktemp("demos")
        listed = episodes_folder(demos, content["split"], content["task"])
        listed.mkdir(parents=True)
        for number in numbers:
            (listed / f"episode{number}").symlink_to(_episode_folder(content, number))
        request = _request(content, tmp_path_factory.mktemp("store"), numbers)
        request = StoreRequest(**{**request.__dict__, "data_folder": demos})
        _stores[golden_file.path] = ensure_store(request, [content["task"]], progress=False)
    return _stores[golden_file.path]


@pytest.fixture(params=["labels", "demos"])
def records(request: pytest.FixtureRequest, golden_file: GoldenFile) -> KeyframeStore:
    """The records, once from the labels of the golden file and once from the recorded demos."""
    if request.param == "labels":
        return store_of_labels(golden_file.json())
    return request.getfixturevalue("store")


@golden_data
def test_constants_are_the_defaults(golden_file: GoldenFile) -> None:
    constants = golden_file.json()["constants"]
    defaults = ExperimentConfig()
    assert list(defaults.cameras) == constants["cameras"]
    assert list(defaults.scene_bounds) == constants["scene_bounds"]
    assert constants["demo_augmentation_every_n"] == START_EVERY
    assert constants["episode_length_in_time_feature"] == TIME_FEATURE_LENGTH
    assert 360 // defaults.peract.num_rotation_classes == constants["rotation_resolution"]


@golden_data
def test_episodes_and_keyframes(golden_file: GoldenFile) -> None:
    content = golden_file.json()
    for expected in content["episodes"]:
        episode = read_episode(_episode_folder(content, expected["episode"]))
        labels, keyframes = frame_labels(episode), episode_keyframes(episode)
        assert len(episode.demo) == expected["num_frames"]
        assert episode.variation_number == expected["variation_number"]
        assert list(episode.descriptions) == expected["descriptions"]
        assert episode.instruction == expected["descriptions"][0]
        assert keyframes == expected["keypoints"]
        poses = expected["keypoint_gripper_pose_xyz_xyzw"]
        np.testing.assert_array_equal(labels.gripper_pose[keyframes], poses)
        assert labels.gripper_open[keyframes].tolist() == expected["keypoint_gripper_open"]
        flags = labels.ignore_collisions
        before = [keyframe - 1 for keyframe in keyframes]
        assert flags[before].tolist() == expected["keypoint_minus1_ignore_collisions"]
        assert np.flatnonzero(flags == 1).tolist() == expected["frames_with_ignore_collisions_1"]
        changes = np.flatnonzero(np.diff(labels.gripper_open)) + 1
        found = [[int(frame), float(labels.gripper_open[frame])] for frame in changes]
        assert found == expected["gripper_open_transitions"]


@golden_data
def test_calibration(golden_file: GoldenFile) -> None:
    content = golden_file.json()
    cameras = content["constants"]["cameras"]
    for expected in content["episodes"]:
        episode = read_episode(_episode_folder(content, expected["episode"]))
        arrays = camera_arrays(episode, [0], cameras)
        for k, camera in enumerate(cameras):
            assert arrays.depth_range[0, k].tolist() == expected["near_far"][camera]
            assert arrays.intrinsics[0, k].tolist() == expected["frame0_intrinsics"][camera]
            assert arrays.extrinsics[0, k].tolist() == expected["frame0_extrinsics"][camera]


@golden_data
def test_every_record_in_storage_order(golden_file: GoldenFile, records: KeyframeStore) -> None:
    content = golden_file.json()
    expected_records = content["stored_transitions"]
    assert len(records) == len(expected_records)
    for number, (record, expected) in enumerate(zip(records.table, expected_records, strict=True)):
        assert number == expected["index"]
        assert record["terminal"] == expected["terminal"]
        assert (record["terminal"] == PADDING) == expected["is_final_padding"]
        np.testing.assert_allclose(
            record["proprioception"], expected["low_dim_state"], rtol=0, atol=1e-7
        )
        np.testing.assert_allclose(record["pose"], expected["gripper_pose"], rtol=0, atol=1e-7)
        assert record["collision_current"] == expected["ignore_collisions"]
        assert record["gripper_open"] == expected["rot_grip_action_indicies"][3]
        assert records.instructions[records.instruction_index[number]] == expected["lang_goal"]


@golden_data
def test_bookkeeping_of_sampleable_records(golden_file: GoldenFile, records: KeyframeStore) -> None:
    for record, expected in zip(
        records.table, golden_file.json()["stored_transitions"], strict=True
    ):
        if expected["is_final_padding"]:
            continue
        first = record["time_index"] == 0
        assert record["episode"] == expected["episode_idx"]
        assert record["initial_frame"] == expected["initial_frame"]
        assert record["sample_frame"] == expected["sample_frame"]
        assert record["keyframe_index"] == expected["keypoint_idx"]
        assert record["target_frame"] == expected["next_keypoint_frame"]
        index = record["keyframe_index"]
        if index:
            assert first or record["sample_frame"] == expected["keypoint_frame"]
        else:
            assert expected["keypoint_frame"] == -1
        assert float(record["terminal"] == 1) == expected["reward"]
        action = [*record["pose"].tolist(), float(record["gripper_open"])]
        np.testing.assert_allclose(action, expected["action"], rtol=0, atol=1e-7)


@golden_data
def test_discrete_labels_follow_from_the_poses(
    golden_file: GoldenFile, records: KeyframeStore
) -> None:
    """The unused voxel and rotation bins of the replay agree with our continuous labels."""
    content = golden_file.json()
    constants, expected = content["constants"], content["stored_transitions"]
    low, high = np.array(constants["scene_bounds"]).reshape(2, 3)
    voxels = constants["voxel_sizes"][0]
    cell = (high - low) / (voxels + 1e-12) + 1e-12
    pose = records.table["pose"].astype(np.float64)
    place = np.minimum(np.floor((pose[:, :3] - low) / cell), voxels - 1).astype(int)
    assert place.tolist() == [record["trans_action_indicies"] for record in expected]
    quaternion = pose[:, 3:] * np.where(pose[:, 6:] < 0, -1, 1)
    angles = Rotation.from_quat(quaternion).as_euler("xyz", degrees=True) + 180
    step = constants["rotation_resolution"]
    bins = np.round(angles / step).astype(int) % (360 // step)
    assert bins.tolist() == [record["rot_grip_action_indicies"][:3] for record in expected]


@golden_data
def test_counts_per_episode(golden_file: GoldenFile, records: KeyframeStore) -> None:
    for number, expected in golden_file.json()["num_stored_per_episode"].items():
        of_episode = records.table["episode"] == int(number)
        assert of_episode.sum() == expected["with_final"]
        sampleable = of_episode & (records.table["terminal"] != PADDING)
        assert sampleable.sum() == expected["sampleable"]


def _frame_cloud(content: dict[str, Any], where: dict[str, Any]):
    """Depth (K, H, W) float64, cloud (K, H, W, 3), colours of one stored frame."""
    cameras = content["constants"]["cameras"]
    folder = _episode_folder(content, where["episode"])
    size = content["constants"]["image_size"]
    images = torch.from_numpy(read_images(folder, [where["frame"]], cameras, size)[0])
    arrays = camera_arrays(read_episode(folder), [where["frame"]], cameras)
    ranges, intrinsics, extrinsics = (torch.from_numpy(values[0]) for values in arrays)
    depth = decode_depth(images[1], ranges[:, 0], ranges[:, 1])
    return depth, unproject(depth, intrinsics, extrinsics), images[0]


def _in_bounds(cloud: torch.Tensor, content: dict[str, Any]) -> torch.Tensor:
    low, high = torch.tensor(content["constants"]["scene_bounds"]).reshape(2, 3)
    return ((cloud >= low) & (cloud <= high)).all(-1)


@golden_data
def test_depth_and_cloud_statistics(golden_file: GoldenFile) -> None:
    content = golden_file.json()
    for where in content["point_cloud_frames"]:
        depth, cloud, _ = _frame_cloud(content, where)
        for k, camera in enumerate(content["constants"]["cameras"]):
            expected, points = where["cameras"][camera], cloud[k].double().reshape(-1, 3)
            assert str(depth.dtype).endswith(expected["depth_dtype"])
            stats = [depth[k].min(), depth[k].max(), depth[k].mean(), depth[k].std(correction=0)]
            names = ("depth_min", "depth_max", "depth_mean", "depth_std")
            np.testing.assert_allclose(stats, [expected[name] for name in names], atol=1e-6)
            extremes = (points.amin(0), points.amax(0), points.mean(0))
            for name, values in zip(("pc_min", "pc_max", "pc_mean"), extremes, strict=True):
                np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-6)
            assert int(_in_bounds(cloud[k], content).sum()) == expected["in_bounds"]


@golden_data
def test_cloud_of_stored_depths(golden_file: GoldenFile) -> None:
    """Pixels of first frames, whose calibration the golden file holds."""
    content = golden_file.json()
    arrays = golden_file.sibling(golden_file.path.with_suffix(".npz").name).arrays()
    size, compared = content["constants"]["image_size"], 0
    episodes = {episode["episode"]: episode for episode in content["episodes"]}
    for where in content["point_cloud_frames"]:
        if where["frame"] != 0:
            continue
        episode = episodes[where["episode"]]
        for camera in content["constants"]["cameras"]:
            row, column = arrays[f"f0_{camera}_rowcol"].T
            depth = torch.zeros((1, size, size), dtype=torch.float64)
            depth[0, row, column] = torch.from_numpy(arrays[f"f0_{camera}_depth_m"]).double()
            intrinsics, extrinsics = (
                torch.tensor([episode[f"frame0_{name}"][camera]], dtype=torch.float64)
                for name in ("intrinsics", "extrinsics")
            )
            cloud = unproject(depth, intrinsics, extrinsics)[0, row, column]
            expected = arrays[f"f0_{camera}_xyz"]
            np.testing.assert_allclose(cloud, expected, rtol=0, atol=1e-6)
            compared += len(expected)
    assert compared or all(where["frame"] for where in content["point_cloud_frames"])


@golden_data
def test_sampled_pixels(golden_file: GoldenFile) -> None:
    content = golden_file.json()
    arrays = golden_file.sibling(golden_file.path.with_suffix(".npz").name).arrays()
    for where in content["point_cloud_frames"]:
        depth, cloud, rgb = _frame_cloud(content, where)
        for k, camera in enumerate(content["constants"]["cameras"]):
            prefix = f"f{where['frame']}_{camera}_"
            row, column = torch.from_numpy(arrays[prefix + "rowcol"]).unbind(1)
            np.testing.assert_array_equal(rgb[k, row, column], arrays[prefix + "rgb"])
            np.testing.assert_allclose(
                depth[k, row, column], arrays[prefix + "depth_m"], rtol=0, atol=1e-9
            )
            np.testing.assert_allclose(
                cloud[k, row, column], arrays[prefix + "xyz"], rtol=0, atol=1e-6
            )


@golden_data
def test_points_kept_by_the_bounds(golden_file: GoldenFile, store: KeyframeStore) -> None:
    content = golden_file.json()
    expected = content["in_bounds_points_per_sampleable_transition"]
    assert store.valid.tolist() == expected["index"]
    counts = []
    for records in np.array_split(store.valid, max(1, len(store.valid) // 8)):
        observation = gather_batch(store, records).observation()
        cloud = unproject(observation.depth, observation.intrinsics, observation.extrinsics)
        counts += _in_bounds(cloud, content).flatten(1).sum(1).tolist()
    np.testing.assert_allclose(counts, expected["count"], rtol=0, atol=2)


@golden_data
def test_colour_range(golden_file: GoldenFile, store: KeyframeStore) -> None:
    rgb = gather_batch(store, store.valid[:3]).rgb.double() / 255
    found = [rgb.min(), rgb.max(), rgb.mean()]
    np.testing.assert_allclose(found, golden_file.json()["img_feat_range_first3"], atol=1e-6)


@golden_data
def test_exhaustive_set_of_temporal_windows(
    golden_file: GoldenFile, records: KeyframeStore
) -> None:
    observed = golden_file.json().get("temporal_windows_observed")
    if observed is None:
        pytest.skip("the golden file holds no temporal windows")
    for length, expected in observed.items():
        window = int(length)
        sampler = build_sampler("demo_uniform_temporal", records, bs=window, seed=0, window=window)
        drawn = sampler.records(0, 0, 6000 * window).reshape(-1, window)
        assert np.unique(drawn, axis=0).tolist() == sorted(expected)


@golden_data
def test_instruction_tokens(golden_file: GoldenFile) -> None:
    if find_spec("open_clip") is None:
        pytest.skip("open_clip is not installed (extra clip)")
    from sam2act.language.text_encoder import clip_tokens

    for episode in golden_file.json()["episodes"]:
        tokens = clip_tokens(episode["descriptions"][:1])
        assert tokens[0].tolist() == episode["description_tokens"]


@golden_data
def test_replay_in_released_form_gives_the_same_samples(
    golden_file: GoldenFile, store: KeyframeStore, tmp_path: Path
) -> None:
    content = golden_file.json()
    single = KeyframeStore(store.task_stores, [content["episodes"][0]["episode"]])
    write_replay(tmp_path / "replay" / content["task"], single)
    request = ReplayRequest(
        tmp_path / "replay",
        tmp_path / "imported",
        cameras=store.cameras,
        image_size=store.image_size,
    )
    assert_same_samples(import_replay(request, [content["task"]], progress=False), single)


@golden_data
def test_store_is_small(golden_file: GoldenFile, store: KeyframeStore) -> None:
    bytes_per_record = store.task_stores[0].num_bytes / len(store.valid)
    assert bytes_per_record <= 0.35e6
