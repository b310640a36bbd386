"""The restricted unpickler and the writer of demos."""

from __future__ import annotations

import collections
import os
import pickle
import pickletools
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from sam2act.data.rlbench.types import (
    Demo,
    DemoError,
    RecordedObservation,
    RefusedPickleError,
    dump_published,
    load_restricted,
)


class _RunsCommand:
    def __reduce__(self):
        return os.system, ("touch pwned",)


class _Evaluates:
    def __reduce__(self):
        return eval, ("1 + 1",)


class _CallsNumpy:
    def __reduce__(self):
        return np.load, ("anything.npy",)


class _DottedName:
    """Asks for an attribute of a permitted class."""

    def __reduce__(self):
        return np.ndarray.dump, (np.zeros(1), "pwned")


def _demo(seed: tuple | int) -> Demo:
    frames = [
        RecordedObservation(
            gripper_open=float(i % 2),
            gripper_pose=np.arange(7.0) + i,
            ignore_collisions=np.array(1.0),
            front_rgb=None,
            misc={"front_camera_near": 0.01, "front_camera_extrinsics": np.eye(4)},
        )
        for i in range(3)
    ]
    return Demo(frames, seed, variation_number=2)


def _assert_same_demo(loaded, written: Demo) -> None:
    assert type(loaded) is type(written) and len(loaded) == len(written)
    for ours, theirs in zip(loaded, written, strict=True):
        assert ours.gripper_open == theirs.gripper_open
        np.testing.assert_array_equal(ours.gripper_pose, theirs.gripper_pose)
        np.testing.assert_array_equal(
            ours.misc["front_camera_extrinsics"], theirs.misc["front_camera_extrinsics"]
        )
        assert ours.front_rgb is None


@pytest.mark.parametrize(
    "seed", [7, ("MT19937", np.arange(624, dtype=np.uint32), 17, 0, 0.0)], ids=["int", "state"]
)
def test_demo_round_trip(tmp_path: Path, seed: tuple | int) -> None:
    path = tmp_path / "low_dim_obs.pkl"
    demo = _demo(seed)
    dump_published(demo, path)
    loaded = load_restricted(path)
    _assert_same_demo(loaded, demo)
    assert loaded.variation_number == 2
    if isinstance(seed, tuple):
        np.random.RandomState().set_state(loaded.random_seed)  # accepted as a generator state
        np.testing.assert_array_equal(loaded.random_seed[1], seed[1])
    else:
        assert loaded.random_seed == seed


def test_written_names_are_those_of_rlbench_and_old_numpy(tmp_path: Path) -> None:
    path = tmp_path / "low_dim_obs.pkl"
    dump_published(_demo(0), path)
    content = path.read_bytes()
    strings = {argument for _, argument, _ in pickletools.genops(content) if argument is not None}
    assert {"rlbench.demo", "Demo", "rlbench.backend.observation", "Observation"} <= strings
    assert "numpy.core.multiarray" in strings
    assert not any("sam2act" in str(s) or "numpy._core" in str(s) for s in strings)
    assert content[:2] == b"\x80\x04"  # protocol 4


def test_written_file_loads_with_plain_pickle_where_rlbench_exists(tmp_path: Path) -> None:
    path = tmp_path / "low_dim_obs.pkl"
    dump_published(_demo(3), path)
    code = f"""
import pickle, sys, types
def module(name, **content):
    made = types.ModuleType(name); made.__dict__.update(content); sys.modules[name] = made
class Demo: pass
class Observation: pass
module("rlbench"); module("rlbench.backend")
module("rlbench.demo", Demo=Demo); module("rlbench.backend.observation", Observation=Observation)
demo = pickle.load(open({str(path)!r}, "rb"))
assert type(demo) is Demo and type(demo._observations[0]) is Observation
assert demo._observations[1].gripper_pose.tolist() == [1, 2, 3, 4, 5, 6, 7]
assert "sam2act" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_scalars_and_containers_of_any_protocol(tmp_path: Path, protocol: int) -> None:
    content = {
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.float64(1.5),
        "objects": np.array(["open the drawer"], dtype=object),
        "bytes": b"\x00\xff",
        "ordered": collections.OrderedDict(a=1),
        "default": collections.defaultdict(list, {3: [1, 2]}),
        "set": {1, 2},
    }
    path = tmp_path / "content.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    loaded = load_restricted(path)
    np.testing.assert_array_equal(loaded["array"], content["array"])
    assert loaded["scalar"] == 1.5 and loaded["objects"][0] == "open the drawer"
    assert loaded["default"] == {3: [1, 2]} and loaded["set"] == {1, 2}
    assert loaded["bytes"] == b"\x00\xff"


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_both_numpy_module_paths(tmp_path: Path, module: str) -> None:
    path = tmp_path / "array.pkl"
    text = pickle.dumps(np.arange(3.0), protocol=2)
    path.write_bytes(text.replace(b"cnumpy._core.multiarray", b"c" + module.encode()))
    np.testing.assert_array_equal(load_restricted(path), np.arange(3.0))


@pytest.mark.parametrize("attack", [_RunsCommand, _Evaluates, _CallsNumpy, _DottedName])
def test_refuses_other_names_without_executing(tmp_path: Path, monkeypatch, attack) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "low_dim_obs.pkl"
    path.write_bytes(pickle.dumps([attack()], protocol=4))
    with pytest.raises(RefusedPickleError, match="low_dim_obs.pkl") as caught:
        load_restricted(path)
    assert "nothing was executed" in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def test_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(types.SimpleNamespace(a=1)))
    with pytest.raises(RefusedPickleError, match="types.SimpleNamespace"):
        load_restricted(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"not a pickle", b"\x80\x04N"])
def test_damaged_pickle_names_file_and_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "low_dim_obs.pkl"
    path.write_bytes(content)
    with pytest.raises(DemoError, match="low_dim_obs.pkl.*again"):
        load_restricted(path)


def test_truncated_demo(tmp_path: Path) -> None:
    path = tmp_path / "low_dim_obs.pkl"
    dump_published(_demo(0), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DemoError, match="low_dim_obs.pkl"):
        load_restricted(path)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="absent.pkl"):
        load_restricted(tmp_path / "absent.pkl")
