"""Samples of 3D FlowMatch Actor: shapes, keyframes, history, points, several tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2act.data.rlbench.exchange import DemoReader
from sam2act.data.source import SourceError
from sam2act.data.zarr.flowmatch import FlowMatchSamples, FlowMatchWriter
from tests.data.synthetic_demos import write_synthetic_task

pytest.importorskip("zarr", reason="stores need zarr")


def test_samples_are_keyframes_with_their_history_and_points(tmp_path: Path) -> None:
    options = {"episodes": 1, "keyframes": (6, 12, 18), "images": "all", "cameras": ("front",)}
    for task in ("open_drawer", "close_jar"):
        write_synthetic_task(tmp_path / "demos", task=task, **options)
        writer = FlowMatchWriter(tmp_path / "train.zarr", task, [])
        writer.add(DemoReader(tmp_path / "demos", "train", task).read(0))
        assert FlowMatchWriter(tmp_path / "train.zarr", task, []).written() == 1
    samples = FlowMatchSamples(tmp_path / "train.zarr")
    assert len(samples) == 6
    episode = DemoReader(tmp_path / "demos", "train", "close_jar").read(0)
    poses = np.concatenate(
        [episode.numbers["gripper_pose"], episode.numbers["gripper_open"][:, None]], axis=1
    ).astype(np.float32)
    last = samples[5]
    assert last.rgb.shape == last.pcd.shape == (1, 3, 16, 16)
    assert (last.rgb.dtype, last.pcd.dtype) == (np.uint8, np.float16)
    assert (last.rgb[0].transpose(1, 2, 0) == episode.image("front_rgb", 12)).all()
    assert (last.proprioception[:, 0] == poses[[0, 6, 12]]).all()
    assert (samples[3].proprioception[:, 0] == poses[[0, 0, 0]]).all()
    assert (last.action[0, 0] == poses[18]).all()
    assert (int(samples[0].task_id), int(last.task_id)) == (0, 1)
    camera = episode.numbers["front_extrinsics"][12]
    local = (last.pcd[0].reshape(3, -1).T.astype(float) - camera[:3, 3]) @ camera[:3, :3]
    near, far = episode.numbers["front_depth_range"][12]
    code = episode.image("front_depth_code", 12).reshape(-1, 3).astype(float) @ [65536, 256, 1]
    assert np.allclose(local[:, 2], near + code / (2**24 - 1) * (far - near), atol=4e-3)


def test_episodes_without_keyframes_or_depth_are_refused(tmp_path: Path) -> None:
    write_synthetic_task(tmp_path, episodes=1, keyframes=(6, 12), images="all", cameras=("front",))
    episode = DemoReader(tmp_path, "train", "open_drawer").read(0)
    with pytest.raises(SourceError, match="no wrist_depth_code"):
        FlowMatchWriter(tmp_path / "a.zarr", "open_drawer", ["wrist"]).add(episode)
    episode.facts["keyframes"].clear()
    with pytest.raises(SourceError, match="an episode has no keyframes"):
        FlowMatchWriter(tmp_path / "b.zarr", "open_drawer", ["front"]).add(episode)
    with pytest.raises(SourceError, match="has no rgb, pcd"):
        FlowMatchSamples(tmp_path / "b.zarr")
