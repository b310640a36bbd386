"""Training records made of the labels that a golden data file holds, without recorded demos."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import ImageForm
from sam2act.data.transitions import FrameLabels, build_transitions


def store_of_labels(content: dict[str, Any]) -> KeyframeStore:
    """A store without images of all episodes of the file."""
    constants, episodes = content["constants"], content["episodes"]
    tables = [
        build_transitions(one["episode"], labels_of(content, one), one["keypoints"])
        for one in episodes
    ]
    instructions = [
        {"episode": e["episode"], "instruction": e["descriptions"][0]} for e in episodes
    ]
    task: Any = SimpleNamespace(
        form=ImageForm(tuple(constants["cameras"]), constants["image_size"]),
        task=content["task"],
        records=lambda _episode_length: np.concatenate(tables),
        index={"episodes": instructions},
        num_frames=0,
    )
    return KeyframeStore([task])


def labels_of(content: dict[str, Any], episode: dict[str, Any]) -> FrameLabels:
    """The labels of an episode; poses and fingers are NaN in frames of which the file says none."""
    num_frames, changes = episode["num_frames"], episode["gripper_open_transitions"]
    first = 1 - changes[0][1] if changes else episode["keypoint_gripper_open"][0]
    gripper_open, flags = np.full(num_frames, float(first)), np.zeros(num_frames)
    for frame, value in changes:
        gripper_open[frame:] = value
    flags[episode["frames_with_ignore_collisions_1"]] = 1
    joints, poses = np.full((num_frames, 2), np.nan), np.full((num_frames, 7), np.nan)
    poses[episode["keypoints"]] = episode["keypoint_gripper_pose_xyz_xyzw"]
    before: dict[str, Any] = {}
    for record in content["stored_transitions"]:
        padding = record["is_final_padding"]  # shows the target of the record before
        frame = before["next_keypoint_frame"] if padding else record["sample_frame"]
        if (before if padding else record)["episode_idx"] == episode["episode"]:
            joints[frame] = record["low_dim_state"][1:3]
        before = record
    return FrameLabels(gripper_open, joints, poses, flags)
