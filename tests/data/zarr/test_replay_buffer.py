"""Replay buffers of Diffusion Policy: what they hold, windows of them, refusals."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.registry import SOURCES
from sam2act.core.specs import PolicySpec, SpecError, require_match, square_cameras
from sam2act.data.source import AbsentError, SourceError, SourceRequest
from sam2act.data.store.builder import ensure_tasks, open_tasks
from sam2act.data.store.request import StoreRequest
from sam2act.data.windows import WindowStore
from tests.data.zarr.buffers import LENGTHS, SIDE, buffer_arrays, write_buffer

pytest.importorskip("zarr", reason="reading stores needs zarr")


def _source(folder: Path, task: str = "pusht", side: int = SIDE, camera: str = "img"):
    return SOURCES.get("zarr")(SourceRequest(folder, "train", task, (camera,), side))


@pytest.mark.parametrize("form", [2, 3])
def test_episodes_are_those_of_the_buffer(tmp_path: Path, form: int) -> None:
    write_buffer(tmp_path / "pusht.zarr", buffer_arrays(), form=form)
    source = _source(tmp_path)
    assert [source.facts(number).length for number in source.episodes()] == list(LENGTHS)
    assert source.actions(1).tolist() == [[5, -5], [6, -6], [7, -7]]
    assert source.states(2)["state"][0].tolist() == [8, 16, 24]
    assert source.states(2)["agent_pos"].tolist() == source.states(2)["state"][:, :2].tolist()
    frame = source.frame(2, 4)
    assert frame.rgb["img"].dtype == np.uint8
    assert (frame.rgb["img"] == 12).all()
    assert source.rate == 10 and "T-shaped" in source.instruction(0)


def test_a_zip_file_and_the_store_itself_are_read(tmp_path: Path) -> None:
    write_buffer(tmp_path / "plain" / "push.zarr", buffer_arrays(), rate=5, instruction="go")
    shutil.make_archive(str(tmp_path / "push.zarr"), "zip", tmp_path / "plain" / "push.zarr")
    for folder in (tmp_path, tmp_path / "plain" / "push.zarr"):
        source = _source(folder, "push")
        assert (source.rate, source.instruction(1)) == (5, "go")
        assert (source.pictures(0, [3, 1], depth=False).images[:, 0, 0, 0, 0, 0] == [3, 1]).all()


def test_windows_by_offsets_come_from_the_buffer(tmp_path: Path) -> None:
    write_buffer(tmp_path / "data" / "pusht.zarr", buffer_arrays())
    action = ActionSpec("raw", (Component("action", 2, ""),), horizon=4, rate=10.0)
    spec = PolicySpec(
        camera_specs=square_cameras(("img",), SIDE, depth=False),
        language=None,
        state=(Component("agent_pos", 2, ""),),
        action=action,
        offsets=(-2, 0),
    )
    request = StoreRequest(
        *(tmp_path / "data", tmp_path / "store"),
        cameras=("img",),
        image_size=SIDE,
        source="zarr",
        dense=True,
        depth=False,
    )
    require_match(spec, request.open_source("pusht").spec, "data")
    ensure_tasks(request, ["pusht"], progress=False)
    store = WindowStore(open_tasks(request, ["pusht"]), request.episodes, (), spec)
    assert len(store.valid) == sum(LENGTHS)
    batch = store.gather(np.array([5, 7]))  # first and last frame of the second episode
    assert batch.observed.rgb[:, :, 0, 0, 0, 0].tolist() == [[5, 5], [5, 7]]
    assert batch.action[0].tolist() == [[5, -5], [6, -6], [7, -7], [7, -7]]
    assert batch.valid.tolist() == [[True, True, True, False], [True, False, False, False]]
    assert batch.observed.proprioception[1, -1].tolist() == [7, 14]
    wanted = dataclasses.replace(spec, camera_specs=square_cameras(("img",), SIDE, depth=True))
    with pytest.raises(SpecError, match="policy wants depth of img, data gives rgb only"):
        require_match(wanted, request.open_source("pusht").spec, "data")


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    arrays = buffer_arrays()
    write_buffer(tmp_path / "pusht.zarr", arrays)
    with pytest.raises(SourceError, match="has no camera front, but img"):
        _source(tmp_path, camera="front").frame(0, 0)
    with pytest.raises(SourceError, match="8 x 8 pixels .* image_size is 64"):
        _source(tmp_path, side=64).frame(0, 0)
    with pytest.raises(SourceError, match="no img_depth_code"):
        _source(tmp_path).pictures(0, [0], depth=True)
    with pytest.raises(AbsentError, match="holds no zarr store of other"):
        _source(tmp_path, "other").episodes()
    write_buffer(tmp_path / "unknown.zarr", arrays)
    with pytest.raises(SourceError, match="nothing tells how many frames a second"):
        _ = _source(tmp_path, "unknown").spec
    write_buffer(tmp_path / "short.zarr", arrays, ends=[5, 8, 14])
    with pytest.raises(SourceError, match="ends at 14, but data/"):
        _source(tmp_path, "short").episodes()
    write_buffer(tmp_path / "grey.zarr", {**arrays, "img": arrays["img"] / 2})
    with pytest.raises(SourceError, match="not all whole numbers"):
        _source(tmp_path, "grey").frame(0, 1)


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    write_buffer(tmp_path / "pusht.zarr", buffer_arrays())
    (tmp_path / "pusht.zarr" / "data" / "action" / "1.0").write_bytes(b"nothing")
    source = _source(tmp_path)
    with pytest.raises(SourceError, match="action: rows 5 to 7 cannot be read"):
        source.actions(1)


def test_the_public_buffer_of_pusht(pusht_buffer: Path) -> None:
    source = _source(pusht_buffer, side=96)
    assert len(source.episodes()) == 206
    assert source.facts(205).length + sum(source.facts(n).length for n in range(205)) == 25650
    assert [camera.name for camera in source.spec.camera_specs] == ["img"]
    image = source.frame(0, 0).rgb["img"]
    assert image.shape == (96, 96, 3) and image[0, 0].tolist() == [255, 255, 255]
    assert source.actions(0).shape == (161, 2)
