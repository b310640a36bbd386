"""From the observations of environments to those of policies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from sam2act.core.actions import Component
from sam2act.core.specs import (
    FINGER_JOINTS,
    GRIPPER_OPEN,
    GRIPPER_POSE,
    TIME,
    CameraSpec,
    PolicySpec,
    square_cameras,
)
from sam2act.core.types import ContractError, Frame
from sam2act.data.rlbench.types import RecordedObservation
from sam2act.envs.policy_inputs import FrameHistory, policy_observation

CAMERAS = ("front", "wrist")
SPEC = PolicySpec(square_cameras(CAMERAS, 4, depth=True), language=None)


def recorded(seed: int, **changes: object) -> RecordedObservation:
    """An observation as RLBench records it, with random numbers."""
    random = np.random.default_rng(seed)
    fields: dict[str, object] = {"overhead_rgb": None, "overhead_depth": None, "misc": {}}
    misc: dict[str, object] = {"task": "open_drawer"}
    for camera in (*CAMERAS, "overhead"):
        if camera != "overhead":
            fields[f"{camera}_rgb"] = random.integers(0, 256, (4, 4, 3), np.uint8)
            fields[f"{camera}_depth"] = random.random((4, 4), np.float32)
        misc[f"{camera}_camera_intrinsics"] = random.random((3, 3))
        misc[f"{camera}_camera_extrinsics"] = random.random((4, 4))
    return RecordedObservation(
        **fields
        | {"gripper_open": 1.0, "gripper_joint_positions": random.normal(0.02, 0.05, 2)}
        | {"gripper_pose": random.random(7), "misc": misc}
        | changes
    )


def test_recorded_observations_become_frames_of_the_cameras_that_saw_something() -> None:
    observation = recorded(0)
    frame = observation.frame()
    assert list(frame.rgb) == list(frame.depth) == list(frame.extrinsics) == ["front", "wrist"]
    assert frame.rgb["wrist"] is observation.wrist_rgb and frame.mask == {}
    assert set(frame.state) == {"gripper_open", "finger_joints", "gripper_pose"}
    assert RecordedObservation().frame() == Frame(rgb={}, state={})


def test_numbers_of_a_keyframe_policy_to_the_last_bit() -> None:
    both, steps = [recorded(1), recorded(2, gripper_open=0.0)], [0, 7]
    made = policy_observation(both, SPEC, steps)
    assert made.cameras == CAMERAS and made.others == {}
    for row, observation in enumerate(both):
        for k, camera in enumerate(CAMERAS):
            assert np.array_equal(made.rgb[row, k], getattr(observation, f"{camera}_rgb"))
            assert np.array_equal(made.geometry.depth[row, k], vars(observation)[f"{camera}_depth"])
            for kind in ("intrinsics", "extrinsics"):
                stored = observation.misc[f"{camera}_camera_{kind}"]
                assert np.array_equal(getattr(made, kind)[row, k], stored)
        fingers = np.clip(observation.gripper_joint_positions, 0.0, 0.04)
        time = (1.0 - steps[row] / 24.0) * 2.0 - 1.0
        expected = np.array([observation.gripper_open, *fingers, time], np.float32)
        assert np.array_equal(made.proprioception[row], expected)
    assert made.geometry.depth.dtype == torch.float32 and made.rgb.dtype == torch.uint8


def test_state_follows_the_order_and_the_ranges_of_the_spec() -> None:
    spec = dataclasses.replace(SPEC, state=(TIME, GRIPPER_POSE, GRIPPER_OPEN), episode_length=11)
    observation = recorded(3)
    (row,) = policy_observation([observation], spec, [5]).proprioception
    assert row.tolist() == pytest.approx([0.0, *observation.gripper_pose, 1.0])
    with pytest.raises(ContractError, match="state: expected finger_joints, got place"):
        frame = Frame(rgb={}, state={"place": np.zeros(1)})
        policy_observation([frame], PolicySpec((), None, (FINGER_JOINTS,)), [0])


def test_depth_is_taken_only_where_it_is_wanted() -> None:
    colour = dataclasses.replace(SPEC, camera_specs=square_cameras(CAMERAS, 4, depth=False))
    made = policy_observation([recorded(4)], colour, [0])
    assert made.depth is None and made.intrinsics is None and made.extrinsics is None
    frame = recorded(5).frame()
    one = dataclasses.replace(frame, depth={"front": frame.depth["front"]})
    with pytest.raises(ContractError, match="depth: expected that of camera wrist"):
        policy_observation([one], SPEC, [0])
    mixed = dataclasses.replace(SPEC, camera_specs=(SPEC.camera_specs[0], colour.camera_specs[1]))
    depth = policy_observation([one], mixed, [0]).geometry.depth
    assert depth[0, 0].gt(0).all() and not depth[0, 1].any(), "nothing measured"


def test_cameras_of_other_sizes_stand_apart() -> None:
    wide = np.zeros((2, 6, 3), np.uint8)
    frame = Frame(rgb={"front": np.ones((4, 4, 3), np.uint8), "side": wide, "top": wide}, state={})
    sizes = {"front": (4, 4), "side": (2, 6), "top": (2, 6)}
    cameras = tuple(CameraSpec(name, *size, depth=False) for name, size in sizes.items())
    made = policy_observation([frame, frame], PolicySpec(cameras, None, ()), [0, 0])
    assert made.cameras == ("front",) and made.rgb.shape == (2, 1, 4, 4, 3)
    assert {name: other.rgb.shape for name, other in made.others.items()} == {
        "side": (2, 1, 2, 6, 3),
        "top": (2, 1, 2, 6, 3),
    }
    assert made.proprioception.shape == (2, 0)


def test_history_belongs_to_an_episode() -> None:
    spec = dataclasses.replace(SPEC, offsets=(-2, -1, 0, 3), state=(GRIPPER_OPEN, TIME))
    history = FrameHistory(spec)
    frames = [recorded(6, gripper_open=value) for value in (0.0, 0.25, 0.5, 0.75)]
    for step, frame in enumerate(frames):
        seen = history.observe([7], [frame], [step])
    assert seen.proprioception[0, :, 0].tolist() == [0.25, 0.5, 0.75], "frames to come are unknown"
    assert seen.proprioception[0, :, 1].tolist() == pytest.approx([1 - t / 12 for t in (1, 2, 3)])
    assert seen.rgb.shape == (1, 3, 2, 4, 4, 3) and seen.geometry.depth.shape == (1, 3, 2, 4, 4)
    both = history.observe([9, 7], [frames[0], frames[0]], [0, 4])
    assert both.proprioception[:, :, 0].tolist() == [[0.0] * 3, [0.5, 0.75, 0.0]]
    history.begin(7)
    again = history.observe([7], [frames[1]], [0])
    assert again.proprioception[0].tolist() == [[0.25, 1.0]] * 3


# ------------------------------------------------------------------ images of any size
XY = Component("xy", 2, "m")


def spec(*sizes: int) -> PolicySpec:
    cameras = (CameraSpec(f"c{i}", side, side, depth=False) for i, side in enumerate(sizes))
    return PolicySpec(tuple(cameras), None, (XY,))


def frame(*sizes: int) -> Frame:
    images = {f"c{i}": np.full((side, side, 3), i, np.uint8) for i, side in enumerate(sizes)}
    return Frame(rgb=images, state={"xy": np.array([1.0, 2.0])})


def test_images_of_any_size_are_grouped_by_the_size_they_have() -> None:
    seen = policy_observation([frame(4, 6, 4)] * 2, spec(0, 0, 0), [0, 0])
    assert seen.cameras == ("c0", "c2") and seen.rgb.shape == (2, 2, 4, 4, 3)
    assert seen.others["c1"].rgb.shape == (2, 1, 6, 6, 3)
    assert seen.proprioception.tolist() == [[1, 2], [1, 2]]
    assert policy_observation([frame(4, 4)], spec(4, 4), [0]).others == {}


def test_a_camera_that_is_absent_is_named() -> None:
    with pytest.raises(ContractError, match="rgb: expected that of camera c1, .* gives c0"):
        policy_observation([frame(4)], spec(4, 4), [0])


def test_any_size_can_be_fixed() -> None:
    assert [camera.height for camera in spec(0, 8).sized(5).camera_specs] == [5, 8]
