"""Recorded demonstrations as a source of episodes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sam2act.core.actions import EE_POSE
from sam2act.core.registry import SOURCES
from sam2act.core.specs import PolicySpec, require_match, square_cameras
from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.demo_images import read_images
from sam2act.data.rlbench.source import RLBenchSource
from sam2act.data.rlbench.types import DemoError, dump_published, load_restricted
from sam2act.data.source import AbsentError, SourceRequest
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, write_synthetic_task

TASK = "open_drawer"


@pytest.fixture
def source(tmp_path: Path) -> RLBenchSource:
    write_synthetic_task(tmp_path, task=TASK, episodes=(2, 5), instruction="open it")
    request = SourceRequest(tmp_path, "train", TASK, CAMERAS, IMAGE_SIZE)
    found = SOURCES.get("rlbench")(request)
    assert isinstance(found, RLBenchSource)
    return found


def _folder(source: RLBenchSource, number: int) -> Path:
    return episodes_folder(source.request.folder, "train", TASK) / f"episode{number}"


def test_episodes_and_what_is_known_of_them(source: RLBenchSource) -> None:
    assert source.episodes() == [2, 5] and source.rate == 20.0
    facts = source.facts(5)
    demo = load_restricted(_folder(source, 5) / "low_dim_obs.pkl")
    assert facts.length == len(demo) and facts.keyframes[-1] == facts.length - 1
    assert source.instruction(5) == "open it"
    told = RLBenchSource(dataclasses.replace(source.request, options={"wordings": 2}))
    assert [told.instruction(number) for number in (2, 5)] == ["open it", "please open it"]
    states = source.states(2)
    assert states["gripper_pose"].shape == (facts.length, 7)
    assert "joint_positions" not in states  # these demos record none
    assert source.actions(2) is None


def test_specs_of_both_kinds_of_policies_fit(source: RLBenchSource) -> None:
    cameras = square_cameras(CAMERAS, IMAGE_SIZE, depth=True)
    require_match(PolicySpec(cameras, None), source.spec, "data")
    require_match(PolicySpec(cameras, None, action=EE_POSE, offsets=(-2, 0)), source.spec, "data")


def test_frame_has_decoded_depth_and_state(source: RLBenchSource) -> None:
    frame = source.frame(2, 10)
    images = read_images(_folder(source, 2), [10], CAMERAS, IMAGE_SIZE)[0]
    demo = load_restricted(_folder(source, 2) / "low_dim_obs.pkl")
    for row, camera in enumerate(CAMERAS):
        np.testing.assert_array_equal(frame.rgb[camera], images[0, row])
        misc = demo[10].misc
        high, middle, low = images[1, row].astype(np.float64).transpose(2, 0, 1)
        fraction = (high * 65536 + middle * 256 + low) / (2**24 - 1)
        near, far = misc[f"{camera}_camera_near"], misc[f"{camera}_camera_far"]
        np.testing.assert_allclose(frame.depth[camera], near + fraction * (far - near))
        np.testing.assert_array_equal(frame.extrinsics[camera], misc[f"{camera}_camera_extrinsics"])
    np.testing.assert_array_equal(frame.state["gripper_pose"], demo[10].gripper_pose)


def test_recorded_joints_are_a_state(source: RLBenchSource) -> None:
    path = _folder(source, 2) / "low_dim_obs.pkl"
    demo = load_restricted(path)
    for frame, observation in enumerate(demo):
        observation.joint_positions = np.full(7, float(frame))
    dump_published(demo, path)
    joints = source.states(2)["joint_positions"]
    np.testing.assert_array_equal(joints[:, 3], np.arange(len(demo)))


def test_absent_task_may_be_stood_in_for(source: RLBenchSource) -> None:
    request = SourceRequest(source.request.folder, "train", "other", CAMERAS, IMAGE_SIZE)
    with pytest.raises(AbsentError, match="holds the tasks open_drawer") as raised:
        RLBenchSource(request).episodes()
    assert isinstance(raised.value, DemoError)
