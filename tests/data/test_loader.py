"""Batches and the loader: same content for any number of workers, ranks and restarts."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from sam2act.core.types import KeyframeBatch, KeyframeSequenceBatch
from sam2act.data.loader import KeyframeDataset, gather_batch, make_loader, one_ahead
from sam2act.data.samplers import build_sampler
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.transitions import PADDING
from sam2act.geometry.cameras import unproject
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, write_synthetic_task

BS = 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KeyframeStore:
    folder = tmp_path_factory.mktemp("dataset")
    write_synthetic_task(folder, task="open", episodes=2, instruction="open the drawer")
    write_synthetic_task(folder, task="close", episodes=2, instruction="close the drawer")
    request = StoreRequest(folder, folder / "store", demo=2, cameras=CAMERAS, image_size=IMAGE_SIZE)
    return ensure_store(request, ["open", "close"], progress=False)


def _dataset(store: KeyframeStore, rank: int = 0, mode: str = "task_uniform") -> KeyframeDataset:
    sampler = build_sampler(mode, store, bs=BS, seed=5, window=2)
    return KeyframeDataset(store, sampler, bs=BS, rank=rank)


def _assert_equal(left: KeyframeBatch, right: KeyframeBatch) -> None:
    for item in dataclasses.fields(KeyframeBatch):
        ours, theirs = getattr(left, item.name), getattr(right, item.name)
        if isinstance(ours, torch.Tensor):
            assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), item.name
        else:
            assert ours == theirs, item.name


def test_fields_shapes_and_types(store: KeyframeStore) -> None:
    batch = _dataset(store).batch(0)
    size, cameras = IMAGE_SIZE, len(CAMERAS)
    expected = {
        "rgb": ((BS, cameras, size, size, 3), torch.uint8),
        "depth_code": ((BS, cameras, size, size, 3), torch.uint8),
        "depth_range": ((BS, cameras, 2), torch.float64),
        "intrinsics": ((BS, cameras, 3, 3), torch.float64),
        "extrinsics": ((BS, cameras, 4, 4), torch.float64),
        "proprioception": ((BS, 4), torch.float32),
        "instruction": ((BS,), torch.int64),
        "target_pose": ((BS, 7), torch.float32),
        "gripper_open": ((BS,), torch.int64),
        "ignore_collisions": ((BS,), torch.int64),
    }
    for name, (shape, dtype) in expected.items():
        tensor = getattr(batch, name)
        assert (tuple(tensor.shape), tensor.dtype) == (shape, dtype), name
        assert tensor.is_contiguous(), name
    assert len(batch) == BS == len(batch.identities)


def test_identities_instructions_and_labels_belong_together(store: KeyframeStore) -> None:
    records = store.valid[::5]
    batch = gather_batch(store, records)
    for row, record in enumerate(store.table[records]):
        identity = batch.identities[row]
        assert identity.episode == record["episode"]
        assert (identity.frame, identity.target_frame) == (
            record["sample_frame"],
            record["target_frame"],
        )
        assert identity.keyframe == record["keyframe_index"]
        text = store.instructions[batch.instruction[row]]
        assert text == f"{identity.task} the drawer"
        np.testing.assert_array_equal(batch.target_pose[row], record["pose"])


def test_collision_label_option(store: KeyframeStore) -> None:
    records = store.valid
    current = gather_batch(store, records).ignore_collisions
    coming = gather_batch(store, records, collision_label="next_keypoint").ignore_collisions
    np.testing.assert_array_equal(current, store.table["collision_current"][records])
    np.testing.assert_array_equal(coming, store.table["collision_next"][records])
    assert not torch.equal(current, coming)


@pytest.mark.parametrize("label", ["current_obs", "next_keypoint"])
@pytest.mark.parametrize("count", [2, 4])  # demos have three keyframes
def test_future_keyframes_follow_the_demo(store: KeyframeStore, label: str, count: int) -> None:
    records = store.valid
    batch = gather_batch(store, records, collision_label=label, future_keyframes=count)
    assert isinstance(batch, KeyframeSequenceBatch)
    _assert_equal(gather_batch(store, records, collision_label=label), batch)
    column = {"current_obs": "collision_current", "next_keypoint": "collision_next"}[label]
    table, seen = store.table, set()
    for row, record in enumerate(records):
        here = table[record]
        later = table[
            (store.task_index == store.task_index[record])
            & (table["episode"] == here["episode"])
            & (table["initial_frame"] == here["initial_frame"])
            & (table["terminal"] != PADDING)
            & (table["keyframe_index"] >= here["keyframe_index"])
        ]
        left = min(len(later), count)
        seen.add(left)
        assert batch.valid[row].tolist() == [step < left for step in range(count)]
        expected = later[[min(step, left - 1) for step in range(count)]]
        assert np.array_equal(batch.poses[row], expected["pose"])
        assert batch.grippers[row].tolist() == expected["gripper_open"].tolist()
        assert batch.collisions[row].tolist() == expected[column].tolist()
    assert seen == set(range(1, min(count, 3) + 1))


def test_future_keyframes_reach_the_batches_of_a_run(store: KeyframeStore) -> None:
    sampler = build_sampler("task_uniform", store, bs=BS, seed=5)
    batch = KeyframeDataset(store, sampler, bs=BS, future_keyframes=3).batch(0)
    assert isinstance(batch, KeyframeSequenceBatch)
    assert batch.poses.shape == (BS, 3, 7)
    assert torch.equal(batch.poses[:, 0], batch.target_pose)
    assert torch.equal(batch.select([1, 3]).valid, batch.valid[[1, 3]])


def test_unknown_collision_label_is_refused(store: KeyframeStore) -> None:
    sampler = build_sampler("task_uniform", store, bs=BS, seed=0)
    with pytest.raises(ValueError, match=r"peract\.collision_label"):
        KeyframeDataset(store, sampler, bs=BS, collision_label="future")


def test_padding_records_are_refused(store: KeyframeStore) -> None:
    padding = np.flatnonzero(store.table["terminal"] == PADDING)
    with pytest.raises(ValueError, match="padding"):
        gather_batch(store, padding[:2])


def test_cloud_of_a_synthetic_demo_lies_in_the_scene(store: KeyframeStore) -> None:
    observation = gather_batch(store, store.valid[:4]).observation()
    cloud = unproject(observation.depth, observation.intrinsics, observation.extrinsics)
    low, high = torch.tensor([-0.3, -0.5, 0.6]), torch.tensor([0.7, 0.5, 1.6])
    inside = ((cloud >= low) & (cloud <= high)).all(-1)
    assert inside.float().mean() > 0.4


@pytest.mark.parametrize("mode", ["task_uniform", "demo_uniform_temporal"])
def test_ranks_share_one_global_batch(store: KeyframeStore, mode: str) -> None:
    sampler = build_sampler(mode, store, bs=2 * BS, seed=5, window=2)
    together = KeyframeDataset(store, sampler, bs=2 * BS).batch(3)
    apart = [_dataset(store, rank, mode).batch(3) for rank in range(2)]
    assert together.identities == apart[0].identities + apart[1].identities
    assert torch.equal(together.rgb, torch.cat([part.rgb for part in apart]))


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_loader_yields_steps_in_order(store: KeyframeStore, num_workers: int) -> None:
    dataset = _dataset(store)
    loader = make_loader(dataset, 4, 7, num_workers=num_workers)
    batches = list(loader)
    assert len(batches) == len(loader) == 7
    for step, batch in enumerate(batches, start=4):
        _assert_equal(batch, dataset.batch(step))


def test_resumed_loader_continues(store: KeyframeStore) -> None:
    dataset = _dataset(store)
    whole = list(make_loader(dataset, 0, 6))
    resumed = list(make_loader(_dataset(store), 4, 2, num_workers=2))
    for left, right in zip(whole[4:], resumed, strict=True):
        _assert_equal(left, right)


def test_spawned_workers(store: KeyframeStore) -> None:
    dataset = _dataset(store)
    assert len(pickle.dumps(dataset)) < 20000
    batches = list(make_loader(dataset, 0, 2, num_workers=1, start_method="spawn"))
    for step, batch in enumerate(batches):
        _assert_equal(batch, dataset.batch(step))


@pytest.mark.gpu
def test_pinned_batches(store: KeyframeStore) -> None:
    batch = next(iter(make_loader(_dataset(store), 0, 1, num_workers=1, pin_memory=True)))
    assert batch.rgb.is_pinned() and batch.target_pose.is_pinned()


def test_transfer_runs_one_batch_ahead(store: KeyframeStore) -> None:
    dataset, asked = _dataset(store), []

    def source():
        for step in range(4):
            asked.append(step)
            yield dataset.batch(step)

    for step, batch in enumerate(one_ahead(source(), torch.device("cpu"))):
        assert asked == list(range(min(step + 2, 4)))
        _assert_equal(batch, dataset.batch(step))
    assert step == 3
    assert list(one_ahead([], torch.device("cpu"))) == []


def test_a_batch_owns_its_arrays(store: KeyframeStore) -> None:
    dataset = _dataset(store)
    batch = dataset.batch(0)
    before = dataset.batch(0).rgb.clone()
    batch.rgb.zero_()
    assert torch.equal(dataset.batch(0).rgb, before)


def test_images_are_mapped_read_only(store: KeyframeStore) -> None:
    images = store.task_stores[0].images
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0
