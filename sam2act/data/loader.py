"""From sample numbers to batches, and the loader that yields them in step order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sam2act.core.types import (
    Batch,
    KeyframeBatch,
    KeyframePreviewBatch,
    KeyframeSequenceBatch,
    SampleIdentity,
    tensors_in,
)
from sam2act.data.samplers import Sampler, SamplingError, sample_seeds
from sam2act.data.store.store import FrameStore, KeyframeStore
from sam2act.data.store.task_store import StoreError
from sam2act.data.transitions import LAST, UNKNOWN_COLLISION

# (batch, seed per sample (B,) int64) -> batch
BatchTransform = Callable[[Batch, Tensor | None], Batch]
_COLLISION_COLUMNS = {"current_obs": "collision_current", "next_keypoint": "collision_next"}
_IDENTITY_COLUMNS = ("episode", "sample_frame", "target_frame", "keyframe_index")


def gather_batch(
    store: KeyframeStore,
    records: np.ndarray,
    *,
    collision_label: str = "current_obs",
    future_keyframes: int = 1,
    preview: bool = False,
) -> KeyframeBatch:
    """The training samples of B records, in their order.

    Args:
        store: where the records are.
        records: (B,) record numbers; padding records have no images and are refused.
        collision_label: current_obs (published) or next_keypoint.
        future_keyframes: keyframes of the demo from the next one on; with more than one, the
            batch is a `KeyframeSequenceBatch`.
        preview: show what is seen at the next keyframe, too, in a `KeyframePreviewBatch`.

    Raises:
        SamplingError: a padding record, or an unknown collision label.
    """
    rows = store.table[records]
    if (rows["image_row"] < 0).any():
        raise SamplingError(f"records {records}: a padding record cannot be sampled")
    images = store.gather(records)
    tasks = store.task_index[records].tolist()
    labels = (rows[name].tolist() for name in _IDENTITY_COLUMNS)
    identities = tuple(
        SampleIdentity(store.tasks[task], *where)
        for task, where in zip(tasks, zip(*labels, strict=True), strict=True)
    )
    batch = KeyframeBatch(
        rgb=torch.from_numpy(images.rgb),
        depth_code=torch.from_numpy(images.depth_code),
        depth_range=torch.from_numpy(images.depth_range),
        intrinsics=torch.from_numpy(images.intrinsics),
        extrinsics=torch.from_numpy(images.extrinsics),
        proprioception=_column(rows, "proprioception", np.float32),
        instruction=torch.from_numpy(store.instruction_index[records]),
        target_pose=_column(rows, "pose", np.float32),
        gripper_open=_column(rows, "gripper_open", np.int64),
        ignore_collisions=_column(rows, _collision_column(collision_label), np.int64),
        identities=identities,
    )
    if preview:
        return _with_preview(batch, store, records)
    if future_keyframes == 1:
        return batch
    return _with_future(batch, store.table, records, future_keyframes, collision_label)


def _with_preview(
    batch: KeyframeBatch, store: KeyframeStore, records: np.ndarray
) -> KeyframePreviewBatch:
    """`batch` with what the next record of each chain shows: the keyframe of this one."""
    last = store.table["terminal"][records] == LAST
    following = gather_batch(store, np.where(last, records, records + 1)).observation()
    return KeyframePreviewBatch(
        **_parts(batch),
        after=dataclasses.replace(following, proprioception=torch.zeros(len(batch), 0)),
        shown=torch.from_numpy(~last),
    )


def _parts(batch: KeyframeBatch) -> dict[str, Any]:
    return {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}


def _with_future(
    batch: KeyframeBatch, table: np.ndarray, records: np.ndarray, count: int, collision_label: str
) -> KeyframeSequenceBatch:
    """`batch` with the `count` keyframes from each of its records on.

    The records of a chain follow each other, so step i is the keyframe of the record i places on.
    There the frame shown is the keyframe of step i - 1, whose collision flag is thus the published
    label of step i.
    """
    steps = np.arange(count)
    ahead = np.minimum(records[:, None] + steps, len(table) - 1)
    ends = table["terminal"][ahead] == LAST
    last = np.where(ends.any(axis=1), ends.argmax(axis=1), count - 1)[:, None]
    rows = table[records[:, None] + np.minimum(steps, last)]
    return KeyframeSequenceBatch(
        **_parts(batch),
        poses=_column(rows, "pose", np.float32),
        grippers=_column(rows, "gripper_open", np.int64),
        collisions=_column(rows, _collision_column(collision_label), np.int64),
        valid=torch.from_numpy(steps <= last),
    )


def _collision_column(label: str) -> str:
    if label not in _COLLISION_COLUMNS:
        raise SamplingError(
            f"peract.collision_label: {label!r} is neither current_obs nor next_keypoint"
        )
    return _COLLISION_COLUMNS[label]


def _column(rows: np.ndarray, name: str, dtype: type) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows[name], dtype=dtype))


class SampleDataset:
    """The batches of one rank: `batch(step)` is a pure function of the step."""

    def __init__(
        self,
        store: FrameStore,
        sampler: Sampler,
        *,
        bs: int,
        rank: int = 0,
        transform: BatchTransform | None = None,
    ) -> None:
        """Takes rows rank*bs to (rank+1)*bs - 1 of every step.

        Args:
            store: where the samples are.
            sampler: which of them make up a batch.
            bs: samples per batch and rank.
            rank: of this process.
            transform: changes batches before they are used; it gets a seed per sample.
        """
        self.store, self.sampler = store, sampler
        self.bs, self.rank, self.transform = bs, rank, transform

    def batch(self, step: int) -> Batch:
        """The samples of this rank at `step`."""
        first = self.rank * self.bs
        batch = self.gather(self.sampler.records(step, first, self.bs))
        if self.transform is None:
            return batch
        return self.transform(batch, sample_seeds(self.sampler.seed, step, first, self.bs))

    def gather(self, records: np.ndarray) -> Batch:
        """The samples of given numbers, before any transform."""
        raise NotImplementedError


class KeyframeDataset(SampleDataset):
    """The batches of keyframe records of one rank."""

    store: KeyframeStore

    def __init__(
        self,
        store: KeyframeStore,
        sampler: Sampler,
        *,
        bs: int,
        rank: int = 0,
        collision_label: str = "current_obs",
        future_keyframes: int = 1,
        preview: bool = False,
        transform: BatchTransform | None = None,
    ) -> None:
        """As `SampleDataset`; `collision_label` to `preview` as in `gather_batch`.

        Raises:
            SamplingError: `collision_label` is unknown.
            StoreError: the store lacks it.
        """
        column = store.table[_collision_column(collision_label)]
        if (column[store.valid] == UNKNOWN_COLLISION).any():
            raise StoreError(
                "peract.collision_label: next_keypoint is not contained in stores imported from a "
                "released replay; use current_obs or build the store from demos"
            )
        super().__init__(store, sampler, bs=bs, rank=rank, transform=transform)
        self.collision_label, self.future_keyframes = collision_label, future_keyframes
        self.preview = preview

    def gather(self, records: np.ndarray) -> KeyframeBatch:
        """The samples of given records."""
        return gather_batch(
            self.store,
            records,
            collision_label=self.collision_label,
            future_keyframes=self.future_keyframes,
            preview=self.preview,
        )


class BatchStream(IterableDataset[Batch]):
    """The batches of steps start_step .. start_step + num_steps - 1.

    Worker w of W yields steps start_step + w, + w + W, ...; the loader asks the workers in turn,
    so steps arrive in order.
    """

    def __init__(self, dataset: SampleDataset, start_step: int, num_steps: int) -> None:
        self.dataset, self.start_step, self.num_steps = dataset, start_step, num_steps

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in range(self.start_step + offset, self.start_step + self.num_steps, stride):
            yield self.dataset.batch(step)


def _unchanged(batch: Any) -> Any:
    return batch


def make_loader(
    dataset: SampleDataset,
    start_step: int,
    num_steps: int,
    *,
    num_workers: int = 0,
    pin_memory: bool = False,
    start_method: str | None = None,
) -> DataLoader[Batch]:
    """A loader that yields `num_steps` batches in step order.

    While the store fits into the page cache, gathering in this process is faster than passing
    batches between processes; workers pay off on slow disks or where steps are very short.

    Args:
        dataset: the batches of this rank.
        start_step: first step, e.g. the step a resumed run continues with.
        num_steps: how many batches.
        num_workers: processes that gather batches; 0 gathers in this process.
        pin_memory: put batches into page-locked memory for asynchronous transfer.
        start_method: how worker processes start (fork, spawn, forkserver); None = the default.
    """
    return DataLoader(
        BatchStream(dataset, start_step, num_steps),
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_unchanged,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        multiprocessing_context=start_method if num_workers > 0 else None,
    )


def one_ahead(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on `device`; each is on its way there while the one before is used.

    Batches in pinned memory travel to a GPU beside its work, on a stream of their own.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    waiting: _Transfer | None = None
    for batch in batches:
        arriving = _Transfer(batch, device, stream)
        if waiting is not None:
            yield waiting.result()
        waiting = arriving
    if waiting is not None:
        yield waiting.result()


class _Transfer:
    """A batch that travels to a device, on `stream` if that is a GPU."""

    def __init__(
        self, batch: Batch, device: torch.device, stream: torch.cuda.Stream | None
    ) -> None:
        with torch.cuda.stream(stream):  # nothing for None
            self._batch = batch.to(device)
        self._arrived: torch.cuda.Event | None = None if stream is None else stream.record_event()

    def result(self) -> Batch:
        """The batch, for work on the current stream; the host does not wait."""
        if self._arrived is None:
            return self._batch
        current = torch.cuda.current_stream(self._batch.instruction.device)
        current.wait_event(self._arrived)
        # Else its memory could be given to a later transfer while work here still reads it.
        for tensor in tensors_in(self._batch):
            tensor.record_stream(current)
        return self._batch
