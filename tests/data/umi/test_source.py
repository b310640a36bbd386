"""UMI's recordings: steps of three frames, poses as actions, archives, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.core.registry import SOURCES
from sam2act.data.source import AbsentError, SourceError, SourceRequest
from tests.data.umi.recordings import LENGTHS, SIDE, arrays, pack, write_recordings

pytest.importorskip("zarr", reason="reading stores needs zarr")


def source(folder: Path, task: str = "cup") -> Any:
    return SOURCES.get("umi")(SourceRequest(folder, "train", task, ("camera0",), SIDE))


def test_every_third_frame_is_a_step(tmp_path: Path) -> None:
    """Every frame of the store is in one of the three episodes that an episode makes."""
    write_recordings(tmp_path / "cup.zarr")
    data = source(tmp_path)
    assert list(data.episodes()) == [0, 1, 2, 3, 4, 5] and data.rate == 20
    assert [data.facts(number).length for number in data.episodes()] == [30, 30, 30, 27, 26, 26]
    found = [
        int(data.frame(number, index).rgb["camera0"][0, 0, 0])
        for number in (3, 4, 5)
        for index in range(data.facts(number).length)
    ]
    assert sorted(found) == list(range(LENGTHS[0], sum(LENGTHS)))
    assert found[:3] == [90, 93, 96]


def test_the_pose_of_a_step_is_its_action(tmp_path: Path) -> None:
    write_recordings(tmp_path / "cup.zarr")
    data = source(tmp_path)
    actions, states = data.actions(4), data.states(4)
    recorded = arrays()["robot0_eef_pos"][91::3]
    np.testing.assert_allclose(actions[:, :3], recorded, atol=1e-6)
    np.testing.assert_allclose(states["robot0_eef_pos"], recorded, atol=1e-6)
    turn = 0.01 * 91
    rows = [np.cos(turn), -np.sin(turn), 0, np.sin(turn), np.cos(turn), 0]
    np.testing.assert_allclose(actions[0, 3:9], rows, atol=1e-6)
    assert actions[0, 9] == pytest.approx(0.08 - 0.0003 * 91, abs=1e-6)
    assert data.spec.actions[0].mode == "ee_pose_6d" and data.spec.actions[0].rate == 20


@pytest.mark.parametrize("inside", [".", "replay_buffer.zarr"])
def test_an_archive_is_unpacked_once(tmp_path: Path, inside: str) -> None:
    pytest.importorskip("lz4", reason="unpacking needs lz4")
    store = write_recordings(tmp_path / "elsewhere" / "any.zarr")
    pack(store, tmp_path / "cup.zarr.tar.lz4", inside)
    assert source(tmp_path).facts(0).length == 30
    assert {place.name for place in tmp_path.iterdir()} == {
        *("elsewhere", "cup.zarr", "cup.zarr.tar.lz4"),
    }
    (tmp_path / "cup.zarr.tar.lz4").write_bytes(b"no archive any more")
    assert source(tmp_path).facts(0).length == 30
    shutil.rmtree(tmp_path / "cup.zarr")
    with pytest.raises(SourceError, match="no readable archive .* copy it again"):
        source(tmp_path).episodes()
    assert not (tmp_path / "cup.zarr").exists()


def test_a_zip_file_is_read_as_it_is(tmp_path: Path) -> None:
    store = write_recordings(tmp_path / "elsewhere" / "any.zarr")
    shutil.make_archive(str(tmp_path / "cup.zarr"), "zip", store)
    assert source(tmp_path / "cup.zarr.zip").facts(5).length == 26
    assert source(tmp_path).facts(5).length == 26


def test_pictures_of_an_unknown_codec_name_the_package(tmp_path: Path) -> None:
    store = write_recordings(tmp_path / "cup.zarr")
    about = store / "data" / "camera0_rgb" / ".zarray"
    content = json.loads(about.read_text())
    content["compressor"] = {"id": "imagecodecs_unheard_of"}
    about.write_text(json.dumps(content))
    with pytest.raises(SourceError, match=r"imagecodecs_unheard_of.*pip install 'sam2act\[umi\]'"):
        source(tmp_path).episodes()


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recordings(tmp_path / "cup.zarr", robot0_gripper_width=None)
    with pytest.raises(SourceError, match="has no data/robot0_gripper_width; this source reads"):
        source(tmp_path).facts(0)
    both = arrays()["robot0_eef_pos"]
    write_recordings(tmp_path / "two.zarr", robot1_eef_pos=both)
    with pytest.raises(SourceError, match="has two arms"):
        source(tmp_path, "two").facts(0)
    with pytest.raises(AbsentError, match="holds no zarr store of towel"):
        source(tmp_path, "towel").episodes()
    (tmp_path / "towel.tar.lz4").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "lz4.frame", None)
    with pytest.raises(SourceError, match=r"needs the package lz4 .* 'sam2act\[umi\]'"):
        source(tmp_path, "towel").episodes()
