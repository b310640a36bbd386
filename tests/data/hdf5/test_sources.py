"""Demonstrations of LIBERO and robomimic: what their files hold, targets, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.core.registry import SOURCES
from sam2act.data.source import AbsentError, SourceError, SourceRequest
from tests.data.hdf5.demo_files import (
    LENGTHS,
    SIDE,
    poses,
    targets,
    write_demos,
    write_libero,
    write_robomimic,
)

h5py = pytest.importorskip("h5py", reason="reading the files needs h5py")
LIBERO_TASK = "KITCHEN_SCENE3_turn_on_the_stove"
DOWN = [1, 0, 0, 0, -1, 0]  # the first two rows of the matrix of a gripper that looks down


def source(name: str, folder: Path, task: str, camera: str, split: str = "train") -> Any:
    return SOURCES.get(name)(SourceRequest(folder, split, task, (camera,), SIDE))


def test_a_task_of_libero(tmp_path: Path) -> None:
    told = {"language_instruction": ["turn on ", "the stove"]}
    write_libero(tmp_path / f"{LIBERO_TASK}_demo.hdf5", problem_info=told)
    data = source("libero", tmp_path, LIBERO_TASK, "agentview")
    assert [data.facts(number).length for number in data.episodes()] == list(LENGTHS)
    assert data.instruction(0) == "turn on the stove" and data.rate == 20
    assert {camera.name for camera in data.spec.camera_specs} == {"agentview", "eye_in_hand"}
    assert [part.name for part in data.spec.state] == ["ee_states"]
    picture = data.frame(1, 4).rgb["agentview"]
    assert (picture[0] == 255).all() and (picture[1:] == 54).all()  # as recorded, upside down
    assert data.fingerprint(0, []) == data.fingerprint(1, [])


@pytest.mark.parametrize("relative", [True, False])
def test_actions_become_absolute_targets(tmp_path: Path, relative: bool) -> None:
    """Relative motions start where the observation of the step before shows the gripper."""
    write_libero(tmp_path / "stack_bowls_demo.hdf5", relative=relative)
    data = source("libero", tmp_path, "stack_bowls", "agentview")
    assert data.instruction(0) == "stack bowls"
    actions = data.actions(1)
    expected = poses(1)[:, :3] if relative else targets(1)[:, :3]
    np.testing.assert_allclose(actions[:, :3], expected, atol=1e-9)
    np.testing.assert_allclose(actions[:, 3:9], [DOWN] * LENGTHS[1], atol=1e-9)
    assert actions[10:12, 9].tolist() == [-1, 1]
    (spec,) = data.spec.actions
    assert (spec.mode, spec.size, spec.rate) == ("ee_pose_6d", 10, 20)


def test_filter_keys_of_robomimic(tmp_path: Path) -> None:
    path = tmp_path / "tool_hang" / "ph" / "image_abs.hdf5"
    write_robomimic(path, train=["demo_1"], valid=["demo_0"])

    def numbers(task: str, split: str = "train") -> list[int]:
        return list(source("robomimic", tmp_path, task, "sideview", split).episodes())

    assert numbers("tool_hang") == [0, 1]
    assert numbers("tool_hang@train") == [1] and numbers("tool_hang@train", "valid") == [0]
    with pytest.raises(SourceError, match="set tasks to tool_hang@train"):
        numbers("tool_hang", "valid")
    with pytest.raises(SourceError, match="has no filter key test; there are train, valid"):
        numbers("tool_hang@test")
    data = source("robomimic", path, "tool_hang", "sideview")
    assert data.rate == 10 and data.instruction(0) == "tool hang"
    np.testing.assert_allclose(data.actions(0)[:, :3], targets(0)[:, :3])
    assert data.states(0)["robot0_eef_quat"].shape == (LENGTHS[0], 4)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="holds no lift/ph/image_abs.hdf5"):
        source("robomimic", tmp_path, "lift", "sideview").episodes()
    with pytest.raises(AbsentError, match="one file per task"):
        source("libero", tmp_path, "lift", "agentview").episodes()
    broken = tmp_path / "broken_demo.hdf5"
    broken.write_bytes(b"no such file")
    with pytest.raises(SourceError, match="no readable HDF5 file .* copy it again"):
        source("libero", tmp_path, "broken", "agentview").episodes()
    path = write_robomimic(tmp_path / "lift.hdf5", [np.full((n, 7), 0.5) for n in LENGTHS])
    lift = source("robomimic", path, "lift", "sideview")
    with pytest.raises(SourceError, match="relative; name the file with absolute ones"):
        lift.actions(0)
    path = write_demos(tmp_path / "turn_demo.hdf5", [np.zeros((3, 4))], [{}])
    with pytest.raises(SourceError, match=r"demo_0/actions has shape \(3, 4\), expected"):
        source("libero", tmp_path, "turn", "agentview").actions(0)
    odd = {"robot0_eef_pos": np.zeros((2, 3))}
    path = write_demos(tmp_path / "odd.hdf5", [np.zeros((3, 7))], [odd])
    with pytest.raises(SourceError, match=r"shape \(2, 3\), but there are 3 actions"):
        source("robomimic", path, "odd", "sideview").actions(0)


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_robomimic(tmp_path / "lift.hdf5")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(SourceError, match=r"pip install 'sam2act\[data\]'"):
        source("robomimic", tmp_path / "lift.hdf5", "lift", "sideview").episodes()
