"""Replay folders in the released form, made from a frame store, and how to compare an import."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch

from sam2act.data.loader import gather_batch
from sam2act.data.store.store import KeyframeStore
from sam2act.data.transitions import PADDING
from sam2act.geometry.cameras import unproject

GARBAGE = 4604930618986332160  # uninitialised memory read as an integer


def write_replay(folder: Path, store: KeyframeStore, *, temporal: bool = True) -> None:
    """One file per record, padding records with random bookkeeping like the released ones."""
    folder.mkdir(parents=True)
    table = store.table
    groups: dict[int, dict[int, list[int]]] = {}
    shown = _padding_images(store)
    for number, record in enumerate(table):
        content = _record(store, number, shown[number])
        if record["terminal"] == PADDING:
            content |= {"episode_idx": np.int64(record["episode"]), "initial_frame": GARBAGE}
            if number % 3 == 0:
                content["episode_idx"] = np.int64(GARBAGE)
        by_start = groups.setdefault(int(content["episode_idx"]), {})
        by_start.setdefault(int(content["initial_frame"]), []).append(number)
        if not temporal:
            del content["initial_frame"]
        (folder / f"{number}.replay").write_bytes(pickle.dumps(content, protocol=4))
    np.save(folder / "replay_info.npy", table["terminal"].astype(np.int8))
    if temporal:
        (folder / "init_frame_to_idx.pkl").write_bytes(pickle.dumps(groups))


def _padding_images(store: KeyframeStore) -> np.ndarray:
    """For each record a sampleable one whose images it stores (padding: the one before)."""
    numbers = np.arange(len(store.table))
    return np.where(store.table["terminal"] == PADDING, numbers - 1, numbers)


def _record(store: KeyframeStore, number: int, images_of: int) -> dict:
    record = store.table[number]
    batch = gather_batch(store, np.array([images_of]))
    observation = batch.observation()
    cloud = unproject(observation.depth, observation.intrinsics, observation.extrinsics)
    content = {
        "action": np.append(record["pose"], record["gripper_open"]),
        "reward": np.float32(record["terminal"] == 1),
        "terminal": np.int8(record["terminal"]),
        "timeout": np.bool_(False),
        "low_dim_state": record["proprioception"],
        "gripper_pose": record["pose"],
        "rot_grip_action_indicies": np.array([0, 0, 0, record["gripper_open"]], np.int32),
        "ignore_collisions": np.array([record["collision_current"]], np.int32),
        "lang_goal": np.array([store.instructions[store.instruction_index[number]]], object),
        "demo": np.bool_(True),
        "keypoint_idx": np.int64(record["keyframe_index"]),
        "episode_idx": np.int64(record["episode"]),
        "next_keypoint_frame": np.int64(record["target_frame"]),
        "sample_frame": np.int64(record["sample_frame"]),
        "initial_frame": np.int64(record["initial_frame"]),
    }
    for k, camera in enumerate(store.cameras):
        content[f"{camera}_rgb"] = np.moveaxis(batch.rgb[0, k].numpy(), -1, 0)
        content[f"{camera}_depth"] = observation.depth[0, k].numpy()[None]
        content[f"{camera}_point_cloud"] = np.moveaxis(cloud[0, k].numpy(), -1, 0)
        content[f"{camera}_camera_intrinsics"] = batch.intrinsics[0, k].numpy()
        content[f"{camera}_camera_extrinsics"] = batch.extrinsics[0, k].numpy()
    return content


def assert_same_samples(imported: KeyframeStore, original: KeyframeStore) -> None:
    """Fails unless both stores give the same samples; clouds may differ by 1e-5 m."""
    assert len(imported) == len(original)
    for name in imported.table.dtype.names or ():
        if name not in ("collision_next", "image_row"):  # not stored; order of the frames
            np.testing.assert_array_equal(imported.table[name], original.table[name], name)
    ours = gather_batch(imported, imported.valid)
    theirs = gather_batch(original, original.valid)
    for name in ("rgb", "intrinsics", "extrinsics", "proprioception", "target_pose"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(ours.ignore_collisions, theirs.ignore_collisions)
    assert torch.equal(ours.gripper_open, theirs.gripper_open)
    assert ours.identities == theirs.identities
    left, right = ours.observation(), theirs.observation()
    assert (left.depth - right.depth).abs().max() < 1e-6
    clouds = [unproject(o.depth, o.intrinsics, o.extrinsics) for o in (left, right)]
    assert (clouds[0] - clouds[1]).abs().max() < 1e-5
    assert [imported.instructions[i] for i in imported.instruction_index] == [
        original.instructions[i] for i in original.instruction_index
    ]
