"""Which records make up a batch: the three published modes, and one for short trainings.

Every draw is a pure function of (seed, step, row): a counter-based generator is set to the step
and read at the row's place. Ranks take different rows of the same step, so neither resuming nor
the number of workers or ranks changes what a row holds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sam2act.core.errors import UserError
from sam2act.core.wording import uneven_windows
from sam2act.data.store.store import FrameStore, KeyframeStore
from sam2act.data.transitions import PADDING

logger = logging.getLogger(__name__)
DRAWS_PER_ROW = 2
FIRST_REOPEN_DRAWER_KEYFRAMES = 8
KEYFRAME_MODES = {  # mode -> what it draws
    "keyframe_uniform": "keyframes",
    "demo_uniform_temporal": "consecutive keyframes",
}
_SEED_MASK = (1 << 64) - 1
_SEEDS_OF_SAMPLES = 1  # tells their generator from that of `uniform_draws`


class SamplingError(UserError):
    """The store cannot be sampled as configured."""


class Sampler(Protocol):
    """Chooses samples. Rows are counted over all ranks: rank r owns rows r*bs to (r+1)*bs - 1."""

    seed: int

    def records(self, step: int, first_row: int, num_rows: int) -> np.ndarray:
        """(num_rows,) int64: numbers of the samples of the rows from `first_row` on."""
        ...


def uniform_draws(seed: int, step: int, first: int, count: int) -> np.ndarray:
    """(count, 2) float64 in [0, 1): the draws that belong to items `first`.. of `step`."""
    key = np.array([seed & _SEED_MASK, 0], np.uint64)
    generator = np.random.Generator(
        np.random.Philox(key=key, counter=np.array([0, step, 0, 0], np.uint64))
    )
    return generator.random((first + count, DRAWS_PER_ROW))[first:]


def sample_seeds(seed: int, step: int, first: int, count: int) -> Tensor:
    """(count,) int64 in [0, 2**62): a seed for each of the rows `first`.. of `step`."""
    key = np.array([seed & _SEED_MASK, _SEEDS_OF_SAMPLES], np.uint64)
    generator = np.random.Generator(
        np.random.Philox(key=key, counter=np.array([0, step, 0, 0], np.uint64))
    )
    return torch.from_numpy(generator.integers(2**62, size=first + count)[first:])


def _choose(draw: np.ndarray, count: np.ndarray | int) -> np.ndarray:
    """Index in 0..count-1 from a uniform draw."""
    return np.minimum((draw * count).astype(np.int64), np.asarray(count) - 1)


class TransitionUniform:
    """Every sample of every task is equally likely."""

    def __init__(self, store: FrameStore, seed: int) -> None:
        self._valid, self.seed = store.valid, seed

    def records(self, step: int, first_row: int, num_rows: int) -> np.ndarray:
        """(num_rows,) int64 record numbers."""
        draws = uniform_draws(self.seed, step, first_row, num_rows)
        return self._valid[_choose(draws[:, 0], len(self._valid))]


class TaskUniform:
    """Tasks are equally likely, and the samples within a task (published stage 1)."""

    def __init__(self, store: FrameStore, seed: int) -> None:
        self._valid, self.seed = store.valid, seed
        counts = np.bincount(store.task_index[store.valid], minlength=len(store.tasks))
        self._count, self._first = counts, np.cumsum(counts) - counts

    def records(self, step: int, first_row: int, num_rows: int) -> np.ndarray:
        """(num_rows,) int64 record numbers."""
        draws = uniform_draws(self.seed, step, first_row, num_rows)
        task = _choose(draws[:, 0], len(self._count))
        return self._valid[self._first[task] + _choose(draws[:, 1], self._count[task])]


class TaskWeighted:
    """Tasks by their shares, and the samples within a task alike (added)."""

    def __init__(self, store: FrameStore, seed: int, shares: np.ndarray) -> None:
        """Draws by positive `shares` (tasks,), of any sum."""
        self._valid, self.seed = store.valid, seed
        counts = np.bincount(store.task_index[store.valid], minlength=len(store.tasks))
        self._count, self._first = counts, np.cumsum(counts) - counts
        shares = np.where(counts > 0, shares, 0.0)
        self._ends = np.cumsum(shares / shares.sum())

    def records(self, step: int, first_row: int, num_rows: int) -> np.ndarray:
        """(num_rows,) int64 record numbers."""
        draws = uniform_draws(self.seed, step, first_row, num_rows)
        task = np.searchsorted(self._ends[:-1], draws[:, 0], side="right")
        return self._valid[self._first[task] + _choose(draws[:, 1], self._count[task])]


class KeyframeUniform:
    """Every keyframe of every demo is equally likely, shown as at acting from frame 0 on (added).

    `TransitionUniform` draws from all chains: late keyframes far more often than early ones, and
    most with a time feature that counts from the middle of a demo, which acting never shows.
    """

    def __init__(self, store: KeyframeStore, seed: int) -> None:
        self._records, self.seed = first_chains(store), seed

    def records(self, step: int, first_row: int, num_rows: int) -> np.ndarray:
        """(num_rows,) int64 record numbers."""
        draws = uniform_draws(self.seed, step, first_row, num_rows)
        return self._records[_choose(draws[:, 0], len(self._records))]


class DemoUniformTemporal:
    """Windows of consecutive keyframe records (published stage 2).

    Task, demo and start frame are drawn uniformly; chains shorter than the window are rejected and
    everything is drawn again, which amounts to one draw among the long chains with the weights
    computed here. Quirk: in chains longer than the window, the released code never draws the last
    window, which ends with the final keyframe; `window_sampling="all_windows"` includes it.
    """

    def __init__(
        self,
        store: KeyframeStore,
        seed: int,
        *,
        window: int,
        window_sampling: str = "published",
    ) -> None:
        """Prepares windows of `window` records.

        Raises:
            SamplingError: no chain is long enough.
        """
        chains = store.chains
        self.window, self.seed = window, seed
        long_enough = chains.length >= window
        if not long_enough.any():
            longest = int(chains.length.max())
            at = int(chains.length.argmax())
            raise SamplingError(
                f"no demo is long enough for windows of {window} keyframes: the longest chain has "
                f"{longest} ({store.tasks[chains.task[at]]}, episode {chains.episode[at]}); set "
                f"num_maskmem to at most {longest - 1} and bs to a multiple of the window, which "
                f"holds num_maskmem + 1 keyframes{_preset_hint(store, longest)}"
            )
        _warn_of_unused_tasks(store, chains.task[long_enough], window)
        weights = _chain_weights(chains.task, chains.episode)[long_enough]
        self._cumulative = np.cumsum(weights / weights.sum())
        self._first = chains.first[long_enough]
        spare = chains.length[long_enough] - window
        if window_sampling == "published":
            self._starts = np.maximum(spare, 1)
        elif window_sampling == "all_windows":
            self._starts = spare + 1
        else:
            raise SamplingError(
                f"peract.window_sampling: {window_sampling!r} is neither published nor all_windows"
            )

    def records(self, step: int, first_row: int, num_rows: int) -> np.ndarray:
        """(num_rows,) int64 record numbers; both arguments must be multiples of the window."""
        if first_row % self.window or num_rows % self.window:
            raise SamplingError(uneven_windows(num_rows, self.window))
        draws = uniform_draws(self.seed, step, first_row // self.window, num_rows // self.window)
        chain = np.searchsorted(self._cumulative, draws[:, 0], side="right")
        chain = np.minimum(chain, len(self._cumulative) - 1)
        start = self._first[chain] + _choose(draws[:, 1], self._starts[chain])
        return (start[:, None] + np.arange(self.window)).reshape(-1)

    def all_windows(self) -> np.ndarray:
        """(M, window) int64: every window that can be drawn, in storage order."""
        starts = [
            first + np.arange(count) for first, count in zip(self._first, self._starts, strict=True)
        ]
        return np.concatenate(starts)[:, None] + np.arange(self.window)


def _warn_of_unused_tasks(store: KeyframeStore, used: np.ndarray, window: int) -> None:
    for row in sorted(set(range(len(store.tasks))) - set(used.tolist())):
        logger.warning(
            "%s: every chain is shorter than the window of %d keyframes, so this task is never "
            "sampled; lower num_maskmem to include it",
            store.tasks[row],
            window,
        )


def _chain_weights(task: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """(M,) probability of each chain when task, demo and start frame are drawn in turn."""
    demos, demo_of_chain, chains_per_demo = np.unique(
        np.stack([task, episode]), axis=1, return_inverse=True, return_counts=True
    )
    demo_of_chain = demo_of_chain.reshape(-1)
    _, demos_per_task = np.unique(demos[0], return_counts=True)
    return 1.0 / (demos_per_task[task] * chains_per_demo[demo_of_chain] * len(demos_per_task))


def _preset_hint(store: KeyframeStore, longest: int) -> str:
    """The preset for demos of reopen_drawer that are shorter than its published window."""
    if list(store.tasks) != ["reopen_drawer"] or longest < FIRST_REOPEN_DRAWER_KEYFRAMES:
        return ""
    return (
        ". Demos of reopen_drawer have 8 keyframes in its first version and 9 in the embedded "
        "simulator: use --task_cfg_path configs/tasks/reopen_drawer_v1.yaml"
    )


def build_sampler(
    mode: str,
    store: FrameStore,
    *,
    bs: int,
    seed: int,
    window: int = 1,
    window_sampling: str = "published",
    weights: Mapping[str, float] | None = None,
) -> Sampler:
    """The sampler that `sample_distribution_mode` names.

    Args:
        mode: transition_uniform, task_uniform, keyframe_uniform or demo_uniform_temporal.
        store: where samples come from.
        bs: rows per process, checked against the window.
        seed: seed of the run, the same on all ranks.
        window: consecutive keyframes that are drawn together, with demo_uniform_temporal.
        window_sampling: published or all_windows.
        weights: of the tasks, for transition_uniform (what a sample counts) and task_uniform (what
            a task counts); None = all 1.

    Raises:
        SamplingError: unknown mode, weights with another mode, no chain is long enough, bs does
            not fit the window, or the samples are no keyframes.
    """
    if weights is not None:
        return TaskWeighted(store, seed, _shares(mode, store, weights))
    if mode == "transition_uniform":
        return TransitionUniform(store, seed)
    if mode == "task_uniform":
        return TaskUniform(store, seed)
    if mode not in KEYFRAME_MODES:
        known = ", ".join(("transition_uniform", "task_uniform", *KEYFRAME_MODES))
        raise SamplingError(f"sample_distribution_mode: {mode!r} is not one of {known}")
    if not isinstance(store, KeyframeStore):
        raise SamplingError(
            f"sample_distribution_mode: {mode} draws {KEYFRAME_MODES[mode]}, but this policy "
            "learns from windows of frames; choose transition_uniform (all windows are equally "
            "likely) or task_uniform (all tasks are)"
        )
    if mode == "keyframe_uniform":
        return KeyframeUniform(store, seed)
    sampler = DemoUniformTemporal(store, seed, window=window, window_sampling=window_sampling)
    if bs % window:
        raise SamplingError(uneven_windows(bs, window))
    return sampler


def _shares(mode: str, store: FrameStore, weights: Mapping[str, float]) -> np.ndarray:
    """(tasks,) how often each task is drawn."""
    values = np.array([weights[task] for task in store.tasks], np.float64)
    if mode == "task_uniform":
        return values
    if mode == "transition_uniform":
        counts = np.bincount(store.task_index[store.valid], minlength=len(store.tasks))
        return values * counts
    raise SamplingError(
        f"data_mix: weights do not go with sample_distribution_mode: {mode}; choose "
        "transition_uniform or task_uniform"
    )


def first_chain_records(
    store: KeyframeStore, episode: int, *, task: str | None = None
) -> np.ndarray:
    """(M,) int64: the sampleable records of an episode's chain that starts at frame 0.

    Args:
        store: where to look.
        episode: episode number.
        task: task name; may be left out if the store holds one task.

    Raises:
        SamplingError: the episode is not in the store, or the task is ambiguous.
    """
    if task is None:
        if len(store.tasks) > 1:
            raise SamplingError(f"name one of the tasks {', '.join(store.tasks)}")
        task = store.tasks[0]
    if task not in store.tasks:
        raise SamplingError(f"task {task!r} is not in the store ({', '.join(store.tasks)})")
    of_task = store.task_index == store.tasks.index(task)
    records = np.flatnonzero(
        of_task
        & (store.table["episode"] == episode)
        & (store.table["initial_frame"] == 0)
        & (store.table["terminal"] != PADDING)
    )
    if not len(records):
        present = sorted(set(store.table["episode"][of_task].tolist()))
        raise SamplingError(f"{task}: episode {episode} is not in the store (it holds {present})")
    return records


def first_chains(store: KeyframeStore) -> np.ndarray:
    """(M,) int64: the sampleable records of all chains that start at frame 0, in storage order.

    These show every keyframe pair of every demo once, which suits validation.
    """
    valid = store.valid
    return valid[store.table["initial_frame"][valid] == 0]
