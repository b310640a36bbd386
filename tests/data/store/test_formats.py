"""Stores of older formats, dense stores, colour alone, other sources."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sam2act.core.registry import SOURCES
from sam2act.data.rlbench.demos import frame_labels, read_episode
from sam2act.data.rlbench.types import DemoError
from sam2act.data.source import AbsentError, SourceError
from sam2act.data.store.builder import ensure_tasks, open_store, open_tasks, rebuild_reasons
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import FormatError, StoreError, TaskStore, read_index
from tests.data.store.small_store import TASK, build, built_at, episode_folder
from tests.data.synthetic_demos import write_synthetic_task
from tests.data.toy_source import EPISODES, LENGTH, SIDE, ToySource


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[StoreRequest]:
    """A dense store in colour of the toy source, not built yet."""
    with SOURCES.temporarily(toy="tests.data.toy_source:ToySource"):
        yield StoreRequest(
            *(tmp_path / "nowhere", tmp_path / "store"),
            demo=EPISODES,
            cameras=("front",),
            image_size=SIDE,
            source="toy",
            dense=True,
            depth=False,
        )


def _make_old(request: StoreRequest) -> None:
    """Turn the store into one of the format before."""
    path = request.folder(TASK) / "index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "version": 2}))


# ---------------------------------------------------------------------------------- old formats
def test_old_store_is_rebuilt_with_one_line(request_: StoreRequest, caplog) -> None:
    table = build(request_).table
    _make_old(request_)
    with pytest.raises(FormatError, match="version|format"):
        read_index(request_.folder(TASK))
    caplog.set_level(logging.INFO)
    caplog.clear()
    first = dataclasses.replace(request_, demo=1)
    assert set(build(first).table["episode"]) == {0}
    lines = [r.getMessage() for r in caplog.records if "building" in r.getMessage()]
    assert len(lines) == 1 and "another format version than 3" in lines[0]
    again = open_store(request_, [TASK])  # the other episodes that it served are still in it
    np.testing.assert_array_equal(again.table, table)


def test_old_store_without_its_demos_is_an_error(request_: StoreRequest, tmp_path: Path) -> None:
    build(request_)
    _make_old(request_)
    before = built_at(request_)
    moved = dataclasses.replace(request_, data_folder=tmp_path / "away", store_alone=True)
    with pytest.raises(StoreError, match=r"2\).*the demos to build it again are not below"):
        build(moved)
    assert built_at(request_) == before


# --------------------------------------------------------------------------------- raw content
def test_state_of_every_frame_is_stored(request_: StoreRequest) -> None:
    """Also of frames whose images are not."""
    part = build(request_).task_stores[0]
    entry = part.index["episodes"][1]
    labels = frame_labels(read_episode(episode_folder(request_, 1)))
    assert len(entry["frames"]) < entry["num_frames"] == len(labels.gripper_open)
    np.testing.assert_array_equal(part.state("gripper_pose", entry), labels.gripper_pose)
    np.testing.assert_array_equal(part.state("gripper_open", entry)[:, 0], labels.gripper_open)
    assert not any(name.startswith("table.") for name in part.arrays)


def test_time_feature_follows_the_length_of_the_policy(request_: StoreRequest) -> None:
    build(request_)
    times = {
        length: open_store(request_, [TASK], episode_length=length).table["proprioception"][1, 3]
        for length in (25, 11)
    }
    assert times == pytest.approx({25: 1 - 2 / 24, 11: 1 - 2 / 10})


# --------------------------------------------------------------------------- dense, colour alone
@pytest.fixture
def dense(tmp_path: Path, request_: StoreRequest) -> StoreRequest:
    write_synthetic_task(tmp_path / "all", task=TASK, episodes=3, images="all")
    return dataclasses.replace(request_, data_folder=tmp_path / "all", dense=True)


def test_dense_store_gives_the_same_records(dense: StoreRequest) -> None:
    """It lies apart from the sparse store of the same demos."""
    sparse = build(dataclasses.replace(dense, dense=False))
    full = build(dense)
    assert full.task_stores[0].folder != sparse.task_stores[0].folder
    assert full.task_stores[0].num_frames > sparse.task_stores[0].num_frames
    assert full.fingerprints() == sparse.fingerprints()
    for mine, its in zip(full.gather(full.valid), sparse.gather(sparse.valid), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_dense_store_needs_all_images(request_: StoreRequest) -> None:
    with pytest.raises(DemoError, match=r"1\.png: this frame is needed .*all frames for a policy"):
        build(dataclasses.replace(request_, dense=True))


def test_colour_alone_is_smaller_and_a_fuller_store_serves(dense: StoreRequest) -> None:
    colour = dataclasses.replace(dense, depth=False)
    ensure_tasks(colour, [TASK], progress=False)
    (part,) = open_tasks(colour, [TASK])
    assert part.planes == 1 and "extrinsics" not in part.arrays
    with pytest.raises(StoreError, match=r"holds no depth; .*--refresh"):
        part.depth_code  # noqa: B018
    assert rebuild_reasons(dense, [TASK]) == {TASK: "depth changed from False to True"}
    rgb = np.array(part.images)
    ensure_tasks(dense, [TASK], progress=False)
    (part,) = open_tasks(dense, [TASK])
    np.testing.assert_array_equal(part.images[::2], rgb)
    assert rebuild_reasons(colour, [TASK]) == {TASK: ""}


# --------------------------------------------------------------------------------- other sources
def test_store_of_another_source(toy: StoreRequest) -> None:
    ensure_tasks(toy, ["t"], progress=False)
    (part,) = open_tasks(toy, ["t"])
    assert part.folder == Path(toy.store_folder) / "toy" / "dense" / "train" / "t"
    assert part.index["origin"] == "toy" and part.index["rate"] == 10.0
    assert part.num_frames == EPISODES * LENGTH
    np.testing.assert_array_equal(part.images[LENGTH + 3], np.full_like(part.images[0], 23))
    assert rebuild_reasons(toy, ["t"]) == {"t": ""}


def test_absent_source_leaves_nothing_behind(toy: StoreRequest) -> None:
    with pytest.raises(AbsentError, match="no such toy"):
        ensure_tasks(toy, ["t", "absent"], progress=False)
    assert not Path(toy.store_folder).exists()


def test_keyframe_policies_need_keyframes(toy: StoreRequest) -> None:
    with pytest.raises(DemoError, match="nothing tells the keyframes of episode 0"):
        ensure_tasks(dataclasses.replace(toy, dense=False), ["t"], progress=False)
    ensure_tasks(toy, ["t"], progress=False)
    with pytest.raises(StoreError, match="episode 0 has no keyframes"):
        KeyframeStore(open_tasks(toy, ["t"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": ("top",)}, r"t: episode 0, frame 0: camera top gives nothing instead of"),
        ({"image_size": 8}, r"camera front gives an array of shape \(16, 16, 3\) instead of \(8,"),
        ({"depth": True}, r"camera front gives nothing instead of \(16, 16\)"),
    ],
)
def test_images_that_a_source_lacks(toy: StoreRequest, changes: dict, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        ensure_tasks(dataclasses.replace(toy, **changes), ["t"], progress=False)


def test_broken_episode_of_a_source_is_skipped(
    toy: StoreRequest, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def broken(self: ToySource, number: int) -> str:
        if number == 1:
            raise SourceError("toy 1 is broken; mend it")
        return "mend"

    monkeypatch.setattr(ToySource, "instruction", broken)
    with pytest.raises(SourceError, match="toy 1 is broken; mend it .*--skip-bad-episodes"):
        ensure_tasks(toy, ["t"], progress=False)
    ensure_tasks(toy, ["t"], progress=False, skip_bad_episodes=True)
    assert "t: episode 1 was left out: toy 1 is broken" in caplog.text
    assert [e["episode"] for e in TaskStore(toy.folder("t")).index["episodes"]] == [0, 2]


def test_actions_of_all_episodes_have_one_form(
    toy: StoreRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions = ToySource.actions
    monkeypatch.setattr(
        ToySource, "actions", lambda self, number: actions(self, number)[:, : 2 - number]
    )
    message = r"t: action of episode 1 has shape \(1,\) per frame, that of earlier ones \(2,\)"
    with pytest.raises(StoreError, match=message):
        ensure_tasks(toy, ["t"], progress=False)


def test_state_of_some_episodes_alone_is_left_out(
    toy: StoreRequest, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    states = ToySource.states

    def partly(self: ToySource, number: int) -> dict:
        found = dict(states(self, number))
        if number == 1:
            del found["height"]
        return found

    monkeypatch.setattr(ToySource, "states", partly)
    ensure_tasks(toy, ["t"], progress=False)
    assert "t: not all episodes hold state.height" in caplog.text
    (part,) = open_tasks(toy, ["t"])
    assert part.has_state("gripper_pose") and not part.has_state("height")
