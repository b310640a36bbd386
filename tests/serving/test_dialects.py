"""The dialects of openpi, RoboMME and vla-eval, byte by byte and with their own clients."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.core.specs import FINGER_JOINTS, GRIPPER_OPEN, TIME, PolicySpec, square_cameras
from sam2act.core.types import ContractError
from tests.serving.small_policies import grey, png, remembering_session

pytest.importorskip("aiohttp", reason="aiohttp (extra serve) is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")
import msgpack
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from sam2act.serving.acting import Actor
from sam2act.serving.app import Settings
from sam2act.serving.frames import loose_frame
from sam2act.serving.running import serving

CLIENTS = {"openpi": "openpi_client", "vla-eval": "vla_eval"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    settings = Settings(dialect="openpi", aliases={"exterior_image": "rgb/front"})
    with serving(Actor(remembering_session()), settings) as found:
        yield found


def openpi_array(array: np.ndarray) -> dict[bytes, Any]:
    """As openpi's clients write arrays."""
    return {
        b"__ndarray__": True,
        b"data": array.tobytes(),
        b"dtype": array.dtype.str,
        b"shape": array.shape,
    }


def read_openpi(content: str | bytes) -> Any:
    def hook(told: dict[Any, Any]) -> Any:
        if b"__ndarray__" not in told:
            return told
        return np.ndarray(told[b"shape"], np.dtype(told[b"dtype"]), told[b"data"])

    assert isinstance(content, bytes)
    return msgpack.unpackb(content, object_hook=hook)


def infer(connection: ClientConnection, **message: Any) -> Any:
    connection.send(msgpack.packb(message))
    return read_openpi(connection.recv(10))


def test_openpi_gives_chunks_and_robomme_resets(address: str) -> None:
    with connect(f"ws://{address}") as connection:  # the dialect of / was chosen
        assert read_openpi(connection.recv(10))["policy"]["action"]["horizon"] == 4
        image = {"observation/exterior_image": openpi_array(grey(3)), "prompt": "push"}
        told = infer(connection, **image)
        assert told["actions"].shape == (4, 7) and told["server_timing"]["infer_ms"] > 0
        totals = [infer(connection, **image)["actions"][0, 1]]
        assert infer(connection, reset=True) == {"reset_finished": True}
        totals += [infer(connection, **image)["actions"][0, 1] for _ in range(2)]
        totals.append(infer(connection, **image, is_first_step=True)["actions"][0, 1])
        assert totals == [6, 3, 6, 3]


def test_openpi_hears_of_errors_as_texts(address: str) -> None:
    with connect(f"ws://{address}/openpi") as connection:
        connection.recv(10)
        connection.send(msgpack.packb({"prompt": "push"}))
        assert "rgb: expected" in str(connection.recv(10))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(10)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011


def exchange(connection: ClientConnection, kind: str, payload: Any, seq: int) -> Any:
    message = {"type": kind, "payload": payload, "seq": seq, "timestamp": 0.0}
    connection.send(msgpack.packb(message))
    return msgpack.unpackb(connection.recv(10)) if kind != "episode_start" else None


def test_vla_eval_exchanges_its_messages(address: str) -> None:
    image = {"__image__": True, "format": "png", "data": png(grey(4)), "shape": [8, 8, 3]}
    payload = {"images": {"front": image}, "task_description": "push"}
    with connect(f"ws://{address}/vla-eval") as connection:
        hello = exchange(connection, "hello", {"protocol_version": 1}, 1)
        assert (hello["type"], hello["seq"]) == ("hello", 1)
        assert hello["payload"]["action_spec"]["push"]["dims"] == 7
        totals = []
        for seq in range(2, 6):
            if seq in (2, 4):
                exchange(connection, "episode_start", {"task": {}}, seq)
            action = exchange(connection, "observation", payload, seq)
            assert (action["type"], action["seq"]) == ("action", seq)
            told = action["payload"]["actions"]
            totals.append(np.frombuffer(told["data"], told["dtype"])[1])
        assert totals == [4, 8, 4, 8]
        error = exchange(connection, "observation", {}, 9)
        assert (error["type"], error["seq"]) == ("error", 9)
        assert "rgb: expected" in error["payload"]["error"]
        assert exchange(connection, "what", {}, 10)["type"] == "error"
        assert exchange(connection, "observation", payload, 11)["type"] == "action"


def test_vla_eval_finds_its_pages(address: str) -> None:
    with urllib.request.urlopen(f"http://{address}/health") as answer:
        assert json.load(answer) == {"status": "ok"}
    with urllib.request.urlopen(f"http://{address}/config?max_batch_size=1") as answer:
        assert json.load(answer)["max_batch_size"] == 32


SPEC = PolicySpec(
    square_cameras(["front", "wrist"], 8, depth=True),
    language=None,
    state=(GRIPPER_OPEN, FINGER_JOINTS, TIME),
)
DEPTH = np.ones((8, 8), np.float16)


@pytest.mark.parametrize(
    "names",
    [
        {"rgb": {"front": grey(1), "wrist": grey(2)}, "depth": {"front": DEPTH}},
        {"observation/front_image": grey(1), "observation/wrist_image": grey(2)},
        {"observation.images.front": grey(1), "observation.images.wrist": grey(2)},
        {"images": {"front": grey(1), "wrist": np.moveaxis(grey(2), -1, 0)}, "front_depth": DEPTH},
        {"front": grey(1), "wrist_rgb": grey(2) / 255 + 1e-9},
    ],
)
def test_images_are_found_under_the_names_of_others(names: dict[str, Any]) -> None:
    frame, text = loose_frame({**names, "prompt": "a", "state": [1, 0.02, 0.03]}, SPEC, {})
    np.testing.assert_array_equal(frame.rgb["front"], grey(1))
    np.testing.assert_array_equal(frame.rgb["wrist"], grey(2))
    assert text == "a" and list(frame.state["finger_joints"]) == [0.02, 0.03]
    assert all(depth.dtype == np.float32 for depth in frame.depth.values())


@pytest.mark.parametrize(
    "told, message",
    [
        ([], "expected a map, got list"),
        ({"state": [1.0]}, r"expected 3 numbers: gripper_open \(1\), finger_joints \(2\); got 1"),
        ({"state": [1, 2, float("nan")]}, "finite numbers"),
        ({"front": np.full((8, 8, 3), 200.0)}, "numbers from 0 to 1"),
        ({"prompt": 3}, "instruction: expected a text, got int"),
        ({"front_intrinsics": np.eye(4)}, r"intrinsics: of front: expected an array \(3, 3\)"),
    ],
)
def test_what_is_none_of_it_is_refused(told: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        loose_frame(told, SPEC, {})


def test_the_only_camera_needs_no_name() -> None:
    alone = dataclasses.replace(SPEC, camera_specs=SPEC.camera_specs[:1])
    assert loose_frame({"observation/image": grey(1)}, alone, {})[0].rgb["front"].shape == (8, 8, 3)


@pytest.mark.parametrize("name", CLIENTS)
def test_their_own_clients_get_what_they_expect(address: str, name: str) -> None:
    python = os.environ.get("SAM2ACT_CLIENTS_PYTHON", "")
    if not python and importlib.util.find_spec(CLIENTS[name]) is None:
        pytest.skip(f"{name}'s client is not installed, nor SAM2ACT_CLIENTS_PYTHON set")
    script = Path(__file__).with_name("real_clients.py")
    done = subprocess.run(
        [python or sys.executable, str(script), name, address],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[3, 3], [5, 8], [7, 7]]
