"""LeRobot data sets: what we write has its tables and statistics; what others write is read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sam2act.core.registry import SOURCES
from sam2act.core.specs import PolicySpec, SpecError, require_match, square_cameras
from sam2act.data.exchange import PlainEpisode
from sam2act.data.lerobot.layout import LeRobotError
from sam2act.data.lerobot.reader import LeRobotReader
from sam2act.data.lerobot.writer import LeRobotWriter
from sam2act.data.source import SourceError, SourceRequest

parquet = pytest.importorskip("pyarrow.parquet", reason="LeRobot data sets need pyarrow")
pytest.importorskip("av", reason="LeRobot data sets need av")

SIDE, RATE = 16, 20.0


def _episode(length: int, seed: int, text: str = "push") -> PlainEpisode:
    """Smooth pictures, a state of two numbers, actions in float64."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, SIDE)
    columns, rows = np.meshgrid(ramp, ramp)
    picture = np.stack([columns, rows, columns], axis=-1)
    return PlainEpisode(
        length=length,
        instructions=(text,),
        numbers={"height": random.normal(size=(length, 2))},
        images={"top_rgb": (SIDE, SIDE)},
        image=lambda name, frame: (picture + frame).astype(np.uint8),
        actions=random.normal(size=(length - 1, 3)),
        facts={"keyframes": [2, length - 1]},
    )


def _written(folder: Path, episodes: list[PlainEpisode], **options) -> LeRobotWriter:
    writer = LeRobotWriter(folder, RATE, **options)
    for episode in episodes:
        writer.add(episode)
    writer.finish()
    return writer


def test_tables_and_statistics_are_those_of_the_format(tmp_path: Path) -> None:
    episodes = [_episode(5, 0), _episode(7, 1, "pull"), _episode(4, 2)]
    _written(tmp_path, episodes)
    info = json.loads((tmp_path / "meta" / "info.json").read_text())
    counts = (info["total_episodes"], info["total_frames"], info["total_tasks"], info["fps"])
    assert counts == (3, 16, 2, 20)
    assert info["codebase_version"] == "v3.0" and info["splits"] == {"train": "0:3"}
    rows = parquet.read_table(tmp_path / "data/chunk-000/file-000.parquet").to_pydict()
    assert rows["index"] == list(range(16))
    assert rows["episode_index"] == [0] * 5 + [1] * 7 + [2] * 4
    assert rows["task_index"] == [0] * 5 + [1] * 7 + [0] * 4
    assert rows["timestamp"][5:8] == pytest.approx([0, 0.05, 0.1])
    table = parquet.read_table(tmp_path / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert table["dataset_from_index"] == [0, 5, 12] and table["dataset_to_index"] == [5, 12, 16]
    assert table["tasks"] == [["push"], ["pull"], ["push"]]
    stats = json.loads((tmp_path / "meta" / "stats.json").read_text())
    heights = np.concatenate([episode.numbers["height"] for episode in episodes])
    found = stats["recorded.height"]
    assert np.allclose(found["mean"], heights.mean(0)) and np.allclose(found["std"], heights.std(0))
    assert found["count"] == [16] and np.allclose(found["max"], heights.max(0))
    assert np.shape(stats["observation.images.top"]["mean"]) == (3, 1, 1)


@pytest.mark.parametrize("colours", ["png", "h264"])
def test_parts_are_joined_and_taken_up_again(tmp_path: Path, colours: str) -> None:
    episodes = [_episode(5, 0), _episode(7, 1, "pull"), _episode(4, 2)]
    assert _written(tmp_path, episodes[:2], colours=colours, part_bytes=1).written() == 2
    lost = LeRobotWriter(tmp_path, RATE, colours=colours)
    lost.add(episodes[0])  # never finished
    writer = LeRobotWriter(tmp_path, RATE, colours=colours)
    assert writer.written() == 2
    writer.add(episodes[2])
    writer.finish()
    reader = LeRobotReader(tmp_path)
    assert list(reader.episodes()) == [0, 1, 2]
    for number, wanted in enumerate(episodes):
        found = reader.read(number)
        assert found.instructions == wanted.instructions
        assert np.array_equal(found.numbers["height"], wanted.numbers["height"])
        assert np.array_equal(found.actions, wanted.actions)
        for frame in (3, 0):
            seen, true = (e.image("top_rgb", frame).astype(float) for e in (found, wanted))
            noise = ((seen - true) ** 2).mean()
            assert noise == 0 if colours == "png" else noise < 255**2 / 10**3  # 30 dB


def test_other_peoples_data_sets_are_a_source(tmp_path: Path) -> None:
    """Without our files the features go by their short names."""
    _written(tmp_path, [_episode(5, 0), _episode(4, 2)], colours="lossless")
    (tmp_path / "meta" / "sam2act.json").unlink()
    path = tmp_path / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["features"] = {k: v for k, v in info["features"].items() if not k.startswith("recorded.")}
    path.write_text(json.dumps(info))
    source = SOURCES.get("lerobot")(SourceRequest(tmp_path, "train", "push", ("top",), SIDE))
    assert [source.facts(number).length for number in source.episodes()] == [5, 4]
    assert source.instruction(1) == "push" and source.rate == 20
    assert (
        source.pictures(1, [3], depth=False).images[0, 0, 0] == _episode(4, 2).image("", 3)
    ).all()
    assert source.states(1)["state"].shape == (4, 2)
    assert source.actions(1).shape == (4, 3)
    wants = PolicySpec(square_cameras(["top"], SIDE, depth=True), language=None, state=())
    with pytest.raises(SpecError, match="policy wants depth of top, data gives rgb only"):
        require_match(wants, source.spec, "data")
    with pytest.raises(SourceError, match="no top_depth_code, top_intrinsics"):
        source.pictures(0, [0], depth=True)


def test_what_cannot_be_written_or_read_is_named(tmp_path: Path) -> None:
    writer = _written(tmp_path, [_episode(5, 0)])
    other = dataclasses.replace(_episode(5, 0), numbers={"width": np.zeros((5, 1))})
    with pytest.raises(
        LeRobotError, match="recorded.height, recorded.width of this episode differ"
    ):
        writer.add(other)
    with pytest.raises(LeRobotError, match="was begun with colours png at 20"):
        LeRobotWriter(tmp_path, 10.0)
    with pytest.raises(LeRobotError, match="whole frames per second"):
        LeRobotWriter(tmp_path / "new", 12.5)
    (tmp_path / "data/chunk-000/file-000.parquet").write_bytes(b"nothing")
    with pytest.raises(LeRobotError, match=r"file-000.parquet: cannot be read"):
        LeRobotReader(tmp_path).read(0)
    info = json.loads((tmp_path / "meta" / "info.json").read_text())
    (tmp_path / "meta" / "info.json").write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    with pytest.raises(LeRobotError, match="version v2.1, and only v3.0 is read"):
        LeRobotReader(tmp_path)
