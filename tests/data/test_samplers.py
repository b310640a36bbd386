"""Sampling distributions, and their independence of ranks, workers and resuming."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from sam2act.data.samplers import (
    SamplingError,
    build_sampler,
    first_chain_records,
    first_chains,
    uniform_draws,
)
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, write_synthetic_task

MODES = ("transition_uniform", "task_uniform", "keyframe_uniform", "demo_uniform_temporal")
WINDOW = 3
DRAWS = 40000
# p-values of the fixed draws: a right distribution stays above the first, a wrong one below the
# second.
PLAUSIBLE, IMPLAUSIBLE = 0.01, 1e-9


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KeyframeStore:
    """Two tasks of different size: chains of up to three and up to five keyframes."""
    folder = tmp_path_factory.mktemp("sampling")
    write_synthetic_task(folder, task="short", episodes=1, image_size=4)
    write_synthetic_task(
        folder, task="long", episodes=3, keyframes=(6, 12, 18, 24, 41), image_size=4
    )
    request = StoreRequest(folder, folder / "store", demo=3, cameras=CAMERAS, image_size=4)
    return ensure_store(request, ["short", "long"], progress=False)


def _sampler(store: KeyframeStore, mode: str, seed: int = 0, bs: int = 2 * WINDOW, **options):
    return build_sampler(mode, store, bs=bs, seed=seed, window=WINDOW, **options)


@pytest.mark.parametrize("mode", MODES)
def test_rows_do_not_depend_on_ranks(store: KeyframeStore, mode: str) -> None:
    sampler = _sampler(store, mode)
    for step in (0, 1, 77):
        together = sampler.records(step, 0, 8 * WINDOW)
        apart = [sampler.records(step, rank * 2 * WINDOW, 2 * WINDOW) for rank in range(4)]
        np.testing.assert_array_equal(together, np.concatenate(apart))


@pytest.mark.parametrize("mode", MODES)
def test_steps_and_seeds_differ_and_repeat(store: KeyframeStore, mode: str) -> None:
    draws = [
        _sampler(store, mode, seed).records(step, 0, 10 * WINDOW).tolist()
        for seed in (0, 1)
        for step in (0, 1, 2**40)
    ]
    assert len({tuple(draw) for draw in draws}) == len(draws)
    assert _sampler(store, mode, 1).records(2**40, 0, 10 * WINDOW).tolist() == draws[-1]


def test_draws_are_pure_and_uniform() -> None:
    draws = uniform_draws(3, 5, 0, 20000)
    np.testing.assert_array_equal(uniform_draws(3, 5, 123, 7), draws[123:130])
    assert abs(draws.mean() - 0.5) < 0.01 and draws.min() >= 0 and draws.max() < 1
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.03
    uniform_draws(-1, 0, 0, 1)  # any integer is a seed


def _chi_square(drawn: np.ndarray, expected: dict[int, float]) -> float:
    """p-value of the hypothesis that `drawn` follows `expected`; 0 for an impossible value."""
    assert sum(expected.values()) == pytest.approx(1.0)
    if not set(np.unique(drawn).tolist()) <= set(expected):
        return 0.0
    keys = sorted(expected)
    observed = np.bincount(np.searchsorted(keys, drawn), minlength=len(keys))
    return float(chisquare(observed, len(drawn) * np.array([expected[k] for k in keys])).pvalue)


def _record_probabilities(store: KeyframeStore) -> dict[str, dict[int, float]]:
    """Published probability of every record under the two modes that draw single records."""
    tasks = store.task_index[store.valid]
    of_task = np.bincount(tasks)
    assert of_task[0] != of_task[1]
    return {
        "transition_uniform": {int(record): 1 / len(tasks) for record in store.valid},
        "task_uniform": {
            int(r): 1 / (len(of_task) * of_task[t]) for r, t in zip(store.valid, tasks, strict=True)
        },
    }


@pytest.mark.parametrize("mode", ["transition_uniform", "task_uniform"])
def test_records_follow_the_published_probabilities(store: KeyframeStore, mode: str) -> None:
    drawn = _sampler(store, mode).records(0, 0, DRAWS)
    expected = _record_probabilities(store)
    assert _chi_square(drawn, expected.pop(mode)) > PLAUSIBLE
    (other,) = expected.values()
    assert _chi_square(drawn, other) < IMPLAUSIBLE  # the test can tell the modes apart


def test_keyframes_of_first_chains_are_equally_likely(store: KeyframeStore) -> None:
    drawn = _sampler(store, "keyframe_uniform").records(0, 0, DRAWS)
    wanted = first_chains(store)
    assert len(wanted) < len(store.valid) / 2
    expected = {int(record): 1 / len(wanted) for record in wanted}
    assert _chi_square(drawn, expected) > PLAUSIBLE


@pytest.mark.parametrize("mode", MODES)
def test_neighbouring_rows_are_independent(store: KeyframeStore, mode: str) -> None:
    drawn = _sampler(store, mode).records(0, 0, DRAWS * WINDOW)
    if mode == "demo_uniform_temporal":
        drawn = drawn[::WINDOW]  # windows, not the rows within one
    episodes = 10 * store.task_index[drawn] + store.table["episode"][drawn]
    _, pair = np.unique(episodes, return_inverse=True)
    table = np.zeros((pair.max() + 1, pair.max() + 1))
    np.add.at(table, (pair[:-1:2], pair[1::2]), 1)
    assert chi2_contingency(table).pvalue > PLAUSIBLE
    np.add.at(table, (pair, pair), 0.2)  # every fifth row repeated
    assert chi2_contingency(table).pvalue < IMPLAUSIBLE


def _reference_windows(store: KeyframeStore, *, all_windows: bool) -> dict[int, float]:
    """Probability of each window's first record, by enumerating the published procedure."""
    probability: dict[int, float] = {}
    table, tasks = store.table, store.task_index
    for task in (0, 1):
        episodes = np.unique(table["episode"][tasks == task])
        for episode in episodes:
            of_demo = (tasks == task) & (table["episode"] == episode)
            starts = np.unique(table["initial_frame"][of_demo])
            for start in starts:
                chain = np.flatnonzero(
                    of_demo & (table["initial_frame"] == start) & (table["terminal"] >= 0)
                )
                spare = len(chain) - WINDOW
                if spare < 0:
                    continue
                options = spare + 1 if all_windows else max(spare, 1)
                for first in chain[:options]:
                    weight = 1 / (2 * len(episodes) * len(starts) * options)
                    probability[int(first)] = weight
    total = sum(probability.values())  # rejection draws everything again
    return {first: weight / total for first, weight in probability.items()}


def _published_window(store: KeyframeStore, random: np.random.Generator) -> int:
    """First record of a window, drawn step by step as published."""
    while True:
        task = random.integers(len(store.tasks))
        of_task = store.table[store.task_index == task]
        episode = random.choice(np.unique(of_task["episode"]))
        of_demo = of_task[of_task["episode"] == episode]
        start = random.choice(np.unique(of_demo["initial_frame"]))
        chain = np.flatnonzero(
            (store.task_index == task)
            & (store.table["episode"] == episode)
            & (store.table["initial_frame"] == start)
            & (store.table["terminal"] >= 0)
        )
        if len(chain) == WINDOW:
            return int(chain[0])
        if len(chain) > WINDOW:
            return int(chain[random.integers(len(chain) - WINDOW)])


def test_enumerated_windows_follow_the_published_procedure(store: KeyframeStore) -> None:
    random = np.random.default_rng(0)
    drawn = np.array([_published_window(store, random) for _ in range(4000)])
    assert _chi_square(drawn, _reference_windows(store, all_windows=False)) > PLAUSIBLE


@pytest.mark.parametrize("window_sampling", ["published", "all_windows"])
def test_windows_follow_the_published_probabilities(
    store: KeyframeStore, window_sampling: str
) -> None:
    sampler = _sampler(store, "demo_uniform_temporal", window_sampling=window_sampling)
    windows = sampler.records(0, 0, DRAWS * WINDOW).reshape(-1, WINDOW)
    np.testing.assert_array_equal(np.diff(windows, axis=1), 1)
    drawn, every = windows[:, 0], window_sampling == "all_windows"
    expected = _reference_windows(store, all_windows=every)
    assert set(expected) == set(sampler.all_windows()[:, 0].tolist())
    assert _chi_square(drawn, expected) > PLAUSIBLE
    other = _reference_windows(store, all_windows=not every)
    assert _chi_square(drawn, other) < IMPLAUSIBLE
    equal = dict.fromkeys(expected, 1 / len(expected))  # windows instead of tasks and demos
    assert _chi_square(drawn, equal) < IMPLAUSIBLE


def test_published_windows_miss_the_last_keyframe_of_long_chains(store: KeyframeStore) -> None:
    published = _sampler(store, "demo_uniform_temporal").all_windows()
    corrected = _sampler(
        store, "demo_uniform_temporal", window_sampling="all_windows"
    ).all_windows()
    added = {tuple(w) for w in corrected.tolist()} - {tuple(w) for w in published.tolist()}
    assert added and len(corrected) == len(published) + len(added)
    for window in added:
        assert store.table["terminal"][window[-1]] == 1


def test_windows_stay_within_a_chain(store: KeyframeStore) -> None:
    windows = _sampler(store, "demo_uniform_temporal", window_sampling="all_windows").all_windows()
    times = store.table["time_index"][windows]
    np.testing.assert_array_equal(np.diff(times, axis=1), 1)
    assert len(np.unique(windows, axis=0)) == len(windows)


def test_window_longer_than_every_chain_is_refused(store: KeyframeStore) -> None:
    with pytest.raises(SamplingError, match=r"longest chain has 5 \(long.*num_maskmem.*at most 4"):
        build_sampler("demo_uniform_temporal", store, bs=6, seed=0, window=6)


def test_task_without_long_chains_is_reported(store: KeyframeStore, caplog) -> None:
    sampler = build_sampler("demo_uniform_temporal", store, bs=5, seed=0, window=5)
    assert "short: every chain is shorter" in caplog.text and "long:" not in caplog.text
    assert set(store.task_index[sampler.records(0, 0, 500)]) == {1}


def test_batch_size_must_be_a_multiple_of_the_window(store: KeyframeStore) -> None:
    with pytest.raises(SamplingError, match=r"bs: 8.*num_maskmem \+ 1.*set bs to 9"):
        build_sampler("demo_uniform_temporal", store, bs=8, seed=0, window=3)


@pytest.mark.parametrize(
    ("mode", "options", "key"),
    [
        ("uniform", {}, "sample_distribution_mode"),
        ("demo_uniform_temporal", {"window_sampling": "some"}, "peract.window_sampling"),
    ],
)
def test_unknown_names_are_refused(store: KeyframeStore, mode: str, options, key: str) -> None:
    with pytest.raises(SamplingError, match=key):
        _sampler(store, mode, **options)


def test_first_chain(store: KeyframeStore) -> None:
    records = first_chain_records(store, 1, task="long")
    rows = store.table[records]
    assert rows["target_frame"].tolist() == [6, 12, 18, 24, 41]
    assert rows["sample_frame"].tolist() == [0, 6, 12, 18, 24]
    assert set(rows["episode"]) == {1} and rows["terminal"].tolist() == [0, 0, 0, 0, 1]
    every = first_chains(store)
    assert len(every) == 3 + 3 * 5 and set(records) <= set(every)


@pytest.mark.parametrize(
    ("episode", "task", "message"),
    [(0, None, "short, long"), (0, "other", "other"), (9, "long", r"episode 9.*\[0, 1, 2\]")],
)
def test_first_chain_of_nothing(store: KeyframeStore, episode: int, task, message: str) -> None:
    with pytest.raises(SamplingError, match=message):
        first_chain_records(store, episode, task=task)


def test_image_size_is_that_of_the_demos(store: KeyframeStore) -> None:
    assert store.image_size == 4 != IMAGE_SIZE


@pytest.mark.parametrize(
    ("task", "count"), [("reopen_drawer", 8), ("reopen_drawer", 9), ("other", 8)]
)
def test_short_demos_of_reopen_drawer_are_told_their_preset(
    tmp_path, task: str, count: int
) -> None:
    keyframes = tuple(range(6, 6 + 6 * count, 6))
    write_synthetic_task(tmp_path, task=task, episodes=1, keyframes=keyframes, image_size=4)
    request = StoreRequest(tmp_path, tmp_path / "store", demo=1, cameras=CAMERAS, image_size=4)
    short = ensure_store(request, [task], progress=False)
    with pytest.raises(
        SamplingError, match=f"windows of 10 keyframes: the longest.* {count}"
    ) as caught:
        build_sampler("demo_uniform_temporal", short, bs=10, seed=0, window=10)
    named = "configs/tasks/reopen_drawer_v1.yaml" in str(caught.value)
    assert named == (task == "reopen_drawer")
    assert build_sampler("demo_uniform_temporal", short, bs=8, seed=0, window=8)
