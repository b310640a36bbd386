"""Our own dialect over a websocket: sessions, steps, and clients that misbehave."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from sam2act.serving.limits import Limits
from tests.serving.small_policies import FORBIDDEN, grey, remembering_session

pytest.importorskip("aiohttp", reason="aiohttp (extra serve) is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from sam2act.serving.acting import Actor
from sam2act.serving.app import Settings
from sam2act.serving.codec import decode, encode
from sam2act.serving.running import serving

LIMITS = Limits(request_bytes=200_000, sessions=40, idle_seconds=30.0, send_seconds=0.5)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Actor(remembering_session()), Settings(LIMITS)) as found:
        yield found


@contextmanager
def opened(address: str, **options: Any) -> Iterator[ClientConnection]:
    """A connection whose greeting has been read."""
    with connect(f"ws://{address}/sam2act", compression=None, **options) as connection:
        assert decode(connection.recv(10), 0)["type"] == "hello"
        yield connection


def ask(connection: ClientConnection, **message: Any) -> dict[str, Any]:
    connection.send(encode(message))
    return decode(connection.recv(10), 0)


def look(connection: ClientConnection, colour: int, **more: Any) -> dict[str, Any]:
    return ask(connection, type="act", observation={"rgb": {"front": grey(colour)}}, **more)


def test_the_greeting_says_what_the_policy_wants(address: str) -> None:
    with connect(f"ws://{address}/") as connection:
        told = decode(connection.recv(10), 0)
    assert told["policy"]["cameras"] == [{"name": "front", "height": 8, "width": 8, "depth": False}]
    assert told["policy"]["action"]["size"] == 7 and told["most_bytes"] == 200_000


def test_sessions_of_one_connection_remember_for_themselves(address: str) -> None:
    with opened(address) as connection:
        told = [look(connection, c, session=s, id=c) for s, c in [("a", 3), ("b", 5)] * 2]
        assert [entry["id"] for entry in told] == [3, 5, 3, 5]
        assert [list(entry["action"][:2]) for entry in told] == [[3, 3], [5, 5], [3, 6], [5, 10]]
        assert [entry["step"] for entry in told] == [0, 0, 1, 1]
        assert ask(connection, type="reset", session="a", id=9) == {"type": "done", "id": 9}
        assert look(connection, 4, session="a")["action"][1] == 4
        chunk = look(connection, 1, session="a", chunk=True)
        np.testing.assert_allclose(chunk["actions"][:, 0], [1, 1.1, 1.2, 1.3], rtol=1e-6)
        assert chunk["valid"].all()


def test_a_step_may_be_asked_for_again_but_none_is_left_out(address: str) -> None:
    with opened(address) as connection:
        first = [look(connection, 2, session="s", step=0) for _ in range(2)]
        assert [entry["action"][1] for entry in first] == [2, 2]
        assert look(connection, 2, session="s", step=1)["action"][1] == 4
        wrong = look(connection, 2, session="s", step=5)
        assert (wrong["type"], wrong["code"]) == ("error", "out_of_step")
    with opened(address) as connection:  # a named session outlives its connection
        assert look(connection, 2, session="s", step=2)["action"][1] == 6


def test_thirty_at_once_are_not_mixed_up(address: str) -> None:
    def robot(number: int) -> list[float]:
        with opened(address) as connection:
            return [look(connection, number)["action"][1] for _ in range(5)]

    with ThreadPoolExecutor(30) as pool:
        totals = list(pool.map(robot, range(1, 31)))
    assert totals == [[n * (k + 1) for k in range(5)] for n in range(1, 31)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no type": ({"id": 1}, "type: None is not one of"),
    "no observation": ({"type": "act"}, "observation: expected a map, got NoneType"),
    "another part": (
        {"type": "act", "observation": {"colour": 1}},
        "observation: colour is unknown",
    ),
    "a list": ({"type": "act", "observation": {"rgb": {"front": [[1]]}}}, "expected an array"),
    "floats": (
        {"type": "act", "observation": {"rgb": {"front": np.zeros((8, 8, 3))}}},
        "float64 is not its type",
    ),
    "another size": (
        {"type": "act", "observation": {"rgb": {"front": np.zeros((9, 9, 3), np.uint8)}}},
        "expected",
    ),
    "NaN": ({"type": "act", "observation": {"state": {"x": [np.nan]}}}, "finite numbers"),
    "a step": ({"type": "act", "step": -1, "observation": {}}, "step: expected a whole number"),
    "a long name": ({"type": "act", "session": "x" * 200, "observation": {}}, "got 200"),
    "a name of bytes": ({"type": "reset", "session": b"x"}, "session: expected a text, got bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_requests_are_answered_and_the_connection_goes_on(address: str, case: str) -> None:
    message, complaint = WRONG[case]
    with opened(address) as connection:
        told = ask(connection, **message)
        assert (told["type"], told["code"]) == ("error", "bad_request")
        assert complaint in told["message"]
        assert look(connection, 1)["type"] == "action"


@pytest.mark.parametrize("content", [b"\xc1", b"\x93\x01\x02\x03", "a text"])
def test_what_is_no_message_ends_the_connection(address: str, content: bytes | str) -> None:
    with opened(address) as connection:
        connection.send(content)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                connection.recv(10)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1003


@pytest.mark.parametrize("pieces", [1, 50])
def test_too_large_messages_end_the_connection(address: str, pieces: int) -> None:
    with opened(address) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            part = bytes(300_000 // pieces)
            connection.send(part for _ in range(pieces))
            connection.recv(10)
    # Or the rest of the message met a connection that was closed already.
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009


def test_a_fault_of_the_policy_ends_one_episode_alone(address: str) -> None:
    with opened(address) as connection, opened(address) as other:
        assert look(connection, FORBIDDEN, id=7)["code"] == "internal"
        assert look(other, 1)["type"] == "action"
        assert look(connection, 1)["code"] == "out_of_step"
        assert look(connection, 1, reset=True)["action"][1] == 1


def test_a_client_that_takes_no_answers_is_cut_off_and_others_go_on(address: str) -> None:
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    host, port = address.split(":")
    stalled.connect((host, int(port)))
    stalled.settimeout(30)
    head = "GET /sam2act HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    stalled.sendall(head.encode())
    content = encode({"type": "reset", "session": "x", "id": "y" * 60_000})
    frame = b"\x82\xfe" + len(content).to_bytes(2, "big") + bytes(4) + content
    with pytest.raises(ConnectionError):
        for _ in range(2000):
            stalled.sendall(frame)
    stalled.close()
    with opened(address) as connection:
        assert look(connection, 1)["type"] == "action"


def test_limits_of_connections_sessions_and_idle_time() -> None:
    limits = Limits(connections=2, sessions=2, idle_seconds=0.3)
    with serving(Actor(remembering_session()), Settings(limits)) as address:
        with opened(address) as connection, opened(address):
            with pytest.raises(InvalidStatus) as refused, opened(address):
                pass
            assert refused.value.response.status_code == 503
            assert [look(connection, 1, session=s)["type"] for s in "ab"] == ["action"] * 2
            assert look(connection, 1, session="c")["code"] == "busy"
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(10)
            assert closed.value.rcvd is not None and closed.value.rcvd.reason == "idle for too long"
        time.sleep(0.3)
        with opened(address) as connection:
            assert look(connection, 1, session="c")["type"] == "action"


def test_a_server_that_stops_says_goodbye() -> None:
    with serving(Actor(remembering_session()), Settings(LIMITS)) as address:
        connection = connect(f"ws://{address}/sam2act").__enter__()
        connection.recv(10)
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(10)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001


def test_a_token_is_asked_for_before_the_connection_is_made() -> None:
    with serving(Actor(remembering_session()), Settings(LIMITS, token="secret")) as address:
        for headers in ({}, {"Authorization": "Bearer other"}):
            with pytest.raises(InvalidStatus) as refused:
                with opened(address, additional_headers=headers):
                    pass
            assert refused.value.response.status_code == 401
        for scheme in ("Bearer", "Api-Key"):
            with opened(address, additional_headers={"Authorization": f"{scheme} secret"}):
                pass


def test_sessions_end_with_their_connections_unless_they_are_named() -> None:
    with serving(Actor(remembering_session()), Settings(LIMITS)) as address:
        for name in ("", "kept", "ended"):
            with opened(address) as connection:
                look(connection, 1, session=name)
                if name == "ended":
                    ask(connection, type="end", session=name)
        until = time.monotonic() + 10
        while "sam2act_sessions 1" not in metrics(address) and time.monotonic() < until:
            time.sleep(0.02)
        assert "sam2act_sessions 1" in metrics(address)


def metrics(address: str) -> list[str]:
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        return answer.read().decode().splitlines()
