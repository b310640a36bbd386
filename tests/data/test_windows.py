"""Windows of frames and actions: their ends, sampling, workers, control modes, refusals."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2act.core.actions import EE_DELTA, EE_POSE, ActionSpec
from sam2act.core.registry import SOURCES
from sam2act.core.specs import (
    CHUNK_END,
    GRIPPER_OPEN,
    GRIPPER_POSE,
    NEXT_KEYFRAME,
    TIME,
    LanguageSpec,
    PolicySpec,
    SpecError,
    require_match,
    square_cameras,
)
from sam2act.core.types import WindowBatch, tensors_in
from sam2act.data.loader import make_loader
from sam2act.data.samplers import SamplingError, build_sampler
from sam2act.data.store.builder import ensure_tasks, open_tasks
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.task_store import StoreError
from sam2act.data.windows import WindowDataset, WindowStore
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, KEYFRAMES, write_synthetic_task
from tests.data.toy_source import EPISODES, HEIGHT, LENGTH, RAW, SIDE, ToySource

HORIZON, OFFSETS = 5, (-12, -2, 0)
SPEC = PolicySpec(
    camera_specs=square_cameras(("front",), SIDE, depth=False),
    language=None,
    state=(HEIGHT, TIME),
    action=dataclasses.replace(RAW, horizon=HORIZON),
    offsets=OFFSETS,
)


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    """The toy source, registered as a plug-in does."""
    with SOURCES.temporarily(toy="tests.data.toy_source:ToySource"):
        yield


@pytest.fixture
def request_(tmp_path: Path) -> StoreRequest:
    return StoreRequest(
        *(tmp_path / "nowhere", tmp_path / "store"),
        demo=EPISODES,
        cameras=("front", "wrist"),
        image_size=SIDE,
        source="toy",
        dense=True,
        depth=False,
    )


def _open(request: StoreRequest, spec: PolicySpec = SPEC, tasks: tuple[str, ...] = ("t",)):
    ensure_tasks(request, tasks, progress=False)
    return WindowStore(open_tasks(request, tasks), request.episodes, (), spec)


def _acting(action: ActionSpec, **changes) -> PolicySpec:
    return dataclasses.replace(SPEC, action=action, **changes)


def _colours(batch: WindowBatch) -> list[list[int]]:
    """The colour of every frame of every window of the first camera."""
    return batch.observed.rgb[:, :, 0, 0, 0, 0].tolist()


def test_windows_keep_away_from_the_ends_where_margins_say_so(request_: StoreRequest) -> None:
    store = _open(request_, dataclasses.replace(SPEC, margins=(2, 4), first_action=1))
    batch = store.gather(store.valid)
    frames = [identity.frame for identity in batch.identities]
    assert frames == [*range(2, LENGTH - 4)] * EPISODES
    # The first action is the one after the present frame; action t of an episode is (number, t).
    assert batch.action[0, :, 1].tolist() == [3, 4, 5, 6, 7]
    assert {i.frame for i in store.gather(store.separate()).identities} == {5}
    every = store.without_images(store.covering()).action
    assert {float(value) for value in every[..., 1].flatten()} == {*map(float, range(1, LENGTH))}


def test_every_frame_with_an_action_has_a_window(request_: StoreRequest) -> None:
    store = _open(request_)
    assert len(store) == EPISODES * LENGTH
    batch = store.gather(store.valid)
    assert [i.frame for i in batch.identities] == list(range(LENGTH)) * EPISODES
    assert [i.episode for i in batch.identities] == np.repeat(range(EPISODES), LENGTH).tolist()
    assert store.instructions == ("toy 0", "toy 1")
    assert batch.instruction.tolist() == np.repeat([0, 1, 0], LENGTH).tolist()


def test_frames_before_the_start_are_the_first_one(request_: StoreRequest) -> None:
    batch = _open(request_).gather(np.array([LENGTH, LENGTH + 1, LENGTH + 3]))
    assert _colours(batch) == [[20, 20, 20], [20, 20, 21], [20, 21, 23]]
    assert batch.observed.rgb.shape == (3, 3, 2, SIDE, SIDE, 3)
    assert batch.action[2].tolist() == [[1, t] for t in range(3, 8)]
    assert batch.valid.all()


def test_frames_and_actions_beyond_the_end_repeat_the_last(request_: StoreRequest) -> None:
    spec = dataclasses.replace(SPEC, offsets=(0, 4))
    batch = _open(request_, spec).gather(np.array([LENGTH - 2]))
    assert _colours(batch) == [[10, 11]]
    assert batch.action[0].tolist() == [[0, 10], [0, 11], [0, 11], [0, 11], [0, 11]]
    assert batch.valid.tolist() == [[True, True, False, False, False]]
    assert batch.identities[0].target_frame == LENGTH - 1


def test_state_has_the_parts_that_the_policy_wants(request_: StoreRequest) -> None:
    observed = _open(request_).gather(np.array([LENGTH + 2])).observed
    assert observed.proprioception.dtype == torch.float32
    heights, times = observed.proprioception[0].unbind(-1)
    assert heights.tolist() == pytest.approx([1.0, 1.0, 1.02])
    assert times.tolist() == pytest.approx([1.0, 1.0, 1.0 - 2 * 2 / 24])


def test_one_frame_has_no_time_axis(request_: StoreRequest) -> None:
    observed = (
        _open(request_, dataclasses.replace(SPEC, offsets=(0,))).gather(np.arange(4)).observed
    )
    assert observed.rgb.shape == (4, 2, SIDE, SIDE, 3)
    assert observed.proprioception.shape == (4, 2) and observed.depth is None


@pytest.mark.parametrize(
    ("action", "size", "height"),
    [(EE_POSE, 8, 0.04), (EE_DELTA, 7, 0.01)],
    ids=lambda v: str(v)[:9],
)
def test_actions_of_recorded_poses(
    request_: StoreRequest, action: ActionSpec, size: int, height: float
) -> None:
    """Frame t leads to frame t + 1: the last frame has no action."""
    store = _open(request_, _acting(action))
    assert len(store) == EPISODES * (LENGTH - 1)
    batch = store.gather(np.array([3, 4, 5]))
    assert batch.action.shape == (3, 1, size)
    assert batch.action[0, 0, 2].item() == pytest.approx(height)
    assert batch.action[:, 0, -1].tolist() == [1, 1, 0]  # open until frame 5


def test_batches_do_not_depend_on_ranks_and_workers(request_: StoreRequest) -> None:
    store = _open(request_)
    sampler = build_sampler("transition_uniform", store, bs=6, seed=3)
    whole = WindowDataset(store, sampler, bs=6)
    halves = [WindowDataset(store, sampler, bs=3, rank=rank) for rank in range(2)]
    loaded = list(make_loader(whole, 2, 4, num_workers=2))
    for step, batch in zip(range(2, 6), loaded, strict=True):
        expected = whole.batch(step)
        assert batch.identities == expected.identities
        for mine, its in zip(tensors_in(batch), tensors_in(expected), strict=True):
            assert torch.equal(mine, its)
        parts = [half.batch(step) for half in halves]
        assert parts[0].identities + parts[1].identities == expected.identities
    assert loaded[0].identities != loaded[1].identities


def test_tasks_may_be_equally_likely(request_: StoreRequest) -> None:
    """Task b has a third of the windows of task a."""
    store = _open(request_, tasks=("a", "b"))
    store = store.without({("b", 0), ("b", 1)})
    share = {}
    for mode in ("transition_uniform", "task_uniform"):
        sampler = build_sampler(mode, store, bs=4, seed=0)
        drawn = np.concatenate([sampler.records(step, 0, 400) for step in range(5)])
        share[mode] = float(np.mean(store.task_index[drawn] == 1))
    assert share == pytest.approx({"transition_uniform": 0.25, "task_uniform": 0.5}, abs=0.04)
    weights = {"a": 1.0, "b": 3.0}  # three times as much per window, or per task
    for mode, expected in (("transition_uniform", 0.5), ("task_uniform", 0.75)):
        sampler = build_sampler(mode, store, bs=4, seed=0, weights=weights)
        drawn = np.concatenate([sampler.records(step, 0, 400) for step in range(5)])
        assert set(drawn) <= set(store.valid)
        assert float(np.mean(store.task_index[drawn] == 1)) == pytest.approx(expected, abs=0.04)
    with pytest.raises(SamplingError, match="weights do not go with"):
        build_sampler("keyframe_uniform", store, bs=4, seed=0, weights=weights)


@pytest.mark.parametrize("mode", ["keyframe_uniform", "demo_uniform_temporal"])
def test_modes_of_keyframes_are_refused(request_: StoreRequest, mode: str) -> None:
    with pytest.raises(SamplingError, match=rf"{mode} .*windows of frames; choose"):
        build_sampler(mode, _open(request_), bs=4, seed=0, window=4)


def test_pickle_holds_paths_only(request_: StoreRequest) -> None:
    store = _open(request_).without({("t", 1)})
    sent = pickle.dumps(store)
    assert len(sent) < 4000
    again = pickle.loads(sent)
    assert again.episodes_of(0) == [0, 2]
    assert torch.equal(again.gather(again.valid).action, store.gather(store.valid).action)


def test_transform_gets_batches_and_seeds(request_: StoreRequest) -> None:
    seen = []

    def doubled(batch: WindowBatch, seeds: torch.Tensor | None) -> WindowBatch:
        seen.append(seeds)
        return dataclasses.replace(batch, action=2 * batch.action)

    store = _open(request_)
    sampler = build_sampler("transition_uniform", store, bs=4, seed=0)
    plain = WindowDataset(store, sampler, bs=4)
    changed = WindowDataset(store, sampler, bs=2, rank=1, transform=doubled)
    assert torch.equal(changed.batch(1).action, 2 * plain.batch(1).action[2:])
    again = WindowDataset(store, sampler, bs=4, transform=doubled)
    again.batch(1)
    again.batch(2)
    assert torch.equal(seen[0], seen[1][2:]) and len(set(seen[1].tolist())) == 4
    assert not torch.equal(seen[1], seen[2])


def test_windows_for_validation_share_no_action(request_: StoreRequest) -> None:
    store = _open(request_)
    frames = [identity.frame for identity in store.gather(store.separate()).identities]
    assert frames == [0, 5, 10] * EPISODES


def test_fingerprint_follows_what_is_taught(request_: StoreRequest) -> None:
    store = _open(request_)
    assert _open(request_).fingerprints() == store.fingerprints()
    assert _open(request_, _acting(EE_POSE)).fingerprints() != store.fingerprints()
    assert store.without({("t", 0)}).fingerprints() != store.fingerprints()


# ---------------------------------------------------------------------------------- refusals
def test_state_that_was_not_recorded(request_: StoreRequest) -> None:
    with pytest.raises(StoreError, match="holds no finger_joints.*gripper_open, .*height"):
        _open(request_, dataclasses.replace(SPEC, state=PolicySpec((), None).state))


def test_actions_of_another_size(request_: StoreRequest) -> None:
    wrong = dataclasses.replace(RAW, components=(*RAW.components, GRIPPER_OPEN))
    with pytest.raises(StoreError, match=r"2 numbers, but the policy gives 3 \(command V, grip"):
        _open(request_, _acting(wrong))


def test_other_sources_differ_in_what_they_give(request_: StoreRequest) -> None:
    given = ToySource(request_.source_request("t")).spec
    require_match(SPEC, given, "data")
    language = LanguageSpec("hashed", 4, 8)
    wanting = dataclasses.replace(
        SPEC, camera_specs=square_cameras(("front",), SIDE, depth=True), language=language
    )
    with pytest.raises(SpecError, match="policy wants depth of front, data gives rgb only"):
        require_match(wanting, given, "data")


# ------------------------------------------------------------------------- recorded demonstrations
@pytest.fixture
def demos(tmp_path: Path) -> StoreRequest:
    write_synthetic_task(tmp_path / "demos", task="t", episodes=2, images="all")
    return StoreRequest(
        *(tmp_path / "demos", tmp_path / "store"),
        demo=2,
        cameras=CAMERAS,
        image_size=IMAGE_SIZE,
        dense=True,
    )


def test_depth_and_matrices_of_recorded_demos(demos: StoreRequest) -> None:
    spec = PolicySpec(square_cameras(CAMERAS, IMAGE_SIZE, depth=True), None, action=EE_POSE)
    store = _open(demos, spec)
    source = demos.open_source("t")
    frame = source.frame(1, 7)
    window = len(store) // 2 + 7
    observed = store.gather(np.array([window])).observed
    for row, camera in enumerate(CAMERAS):
        np.testing.assert_array_equal(observed.rgb[0, row], frame.rgb[camera])
        np.testing.assert_allclose(observed.depth[0, row], frame.depth[camera], rtol=1e-6)
        np.testing.assert_array_equal(observed.extrinsics[0, row], frame.extrinsics[camera])
        np.testing.assert_array_equal(observed.intrinsics[0, row], frame.intrinsics[camera])


def test_poses_to_reach(demos: StoreRequest) -> None:
    """The next keyframe from a keyframe on, or the end of the chunk; the last frame at the end."""
    action = dataclasses.replace(EE_POSE, horizon=4)
    last = KEYFRAMES[-1]
    for goal, wanted in (
        (NEXT_KEYFRAME, {0: KEYFRAMES[0], 11: 12, 12: 17, 17: last, last - 1: last}),
        (CHUNK_END, {0: 4, 12: 16, last - 2: last}),
    ):
        spec = PolicySpec((), None, state=(GRIPPER_POSE,), action=action, goal=goal)
        store = _open(demos, spec)
        poses = store.task_stores[0].state(
            "gripper_pose", store.task_stores[0].index["episodes"][0]
        )
        found = store.without_images(np.array(list(wanted))).goal
        np.testing.assert_array_equal(found, poses[list(wanted.values())].astype(np.float32))
    plain = _open(demos, dataclasses.replace(spec, goal=""))
    assert plain.without_images(np.array([0])).goal is None
    assert plain.fingerprints() != store.fingerprints()


def test_sparse_stores_have_no_windows(demos: StoreRequest) -> None:
    sparse = dataclasses.replace(demos, dense=False)
    with pytest.raises(StoreError, match=r"of the \d+ frames of episode 0, .*--dense"):
        _open(sparse, PolicySpec((), None, action=EE_POSE))
