"""Released replays as a source of episodes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sam2act.core.registry import SOURCES
from sam2act.data.peract_replay.files import ReplayError
from sam2act.data.peract_replay.source import ReplaySource
from sam2act.data.source import SourceRequest
from tests.data.peract_replay.replay_writer import write_replay
from tests.data.store.small_store import TASK, build, small_request
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE


def test_replay_tells_what_its_records_show(tmp_path: Path) -> None:
    store = build(dataclasses.replace(small_request(tmp_path), demo=2))
    write_replay(tmp_path / "replays" / TASK, store)
    request = SourceRequest(tmp_path / "replays", "train", TASK, CAMERAS, IMAGE_SIZE)
    source = SOURCES.get("peract_replay")(request)
    assert isinstance(source, ReplaySource)
    assert list(source.episodes()) == [0, 1] and source.states(1) == {}
    entry = store.task_stores[0].index["episodes"][1]
    assert source.facts(1).keyframes == tuple(entry["keyframes"])
    assert source.instruction(1) == entry["instruction"]
    record = np.flatnonzero((store.table["episode"] == 1) & (store.table["sample_frame"] == 10))[0]
    frame = source.frame(1, 10)
    gathered = store.gather(np.array([record]))
    np.testing.assert_array_equal(frame.rgb[CAMERAS[0]], gathered.rgb[0, 0])
    state = np.concatenate([frame.state["gripper_open"], frame.state["finger_joints"]])
    np.testing.assert_allclose(state, store.table["proprioception"][record, :3], atol=1e-6)
    with pytest.raises(ReplayError, match="no record of episode 1 shows frame 11; shown are 0, 12"):
        source.frame(1, 11)
