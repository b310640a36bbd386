"""One robot in its episode, on a server."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from sam2act_client.codec import decode, encode

PROTOCOL = 1
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to connect
MOST_BYTES = 2**26  # of an answer
TOO_LARGE = 1009
REFUSALS = (400, 401, 403, 404)  # another attempt would not help


class RefusedError(RuntimeError):
    """The server does not do what it was asked; `code` says why in a word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class EpisodeLostError(RefusedError):
    """The server does not know this episode any more; `reset` begins another one."""


class ServerGoneError(ConnectionError):
    """The server could not be reached, or did not answer, for as long as the client is patient."""


@dataclass(frozen=True)
class Action:
    """What to do.

    Attributes:
        values: (A,), or (H, A) if a chunk was asked for.
        valid: whether the policy saw something to act on; (H,) of a chunk.
        step: actions that the episode had had before.
    """

    values: np.ndarray
    valid: bool | np.ndarray
    step: int


class Client:
    """A session on a server; not for several threads at once."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        session: str = "",
        timeout: float = 30.0,
        patience: float = 60.0,
    ) -> None:
        """Connect.

        Args:
            url: such as `ws://127.0.0.1:5500/sam2act`.
            token: of the server, if it wants one.
            session: name of the session; empty = a new one of its own.
            timeout: seconds to wait for an answer before the connection counts as broken.
            patience: seconds for which a broken connection is made again.

        Raises:
            ServerGoneError, RefusedError: there is no such server, or it lets nobody in.
        """
        self.url, self.session = url, session or str(uuid.uuid4())
        self._token, self._timeout, self._patience = token, timeout, patience
        self._socket: ClientConnection | None = None
        self._open = contextlib.ExitStack()
        self._number = 0
        self._step, self._begins = 0, True
        self.reconnections = -1  # how often the connection was made again
        self.hello: dict[str, Any] = {}
        self._connected(time.monotonic() + patience)

    @property
    def policy(self) -> dict[str, Any]:
        """What the server's policy wants and gives."""
        told: dict[str, Any] = self.hello["policy"]
        return told

    def act(
        self, observation: Mapping[str, Any], instruction: str = "", *, chunk: bool = False
    ) -> Action:
        """The next action.

        Args:
            observation: part (`rgb`, `depth`, `intrinsics`, `extrinsics`) -> camera -> array, and
                `state` -> name -> numbers.
            instruction: what the robot is to do.
            chunk: give all actions that the policy predicts, not the one to execute now.

        Raises:
            EpisodeLostError: the server has forgotten the episode.
            RefusedError: the observation is not what the policy needs; the step may be repeated.
            ServerGoneError: no answer.
        """
        told = self._ask(
            type="act",
            observation=dict(observation),
            instruction=instruction,
            step=self._step,
            reset=self._begins,
            chunk=chunk,
        )
        self._step, self._begins = self._step + 1, False
        values = told["actions"] if chunk else told["action"]
        return Action(values, told["valid"], told["step"])

    def reset(self) -> None:
        """Let the next observation begin an episode."""
        self._step, self._begins = 0, True

    def close(self) -> None:
        """End the session and the connection."""
        if self._socket is None:
            return
        with contextlib.suppress(ConnectionClosed):
            self._socket.send(encode({"type": "end", "session": self.session, "id": -1}))
        self._drop()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------- connection
    def _ask(self, **message: Any) -> dict[str, Any]:
        """The answer to a message, which is sent again over a new connection if need be."""
        self._number += 1
        content = encode({**message, "session": self.session, "id": self._number})
        if len(content) > self.hello["most_bytes"]:
            raise RefusedError(
                "too_large",
                f"{len(content)} bytes, the server takes {self.hello['most_bytes']}",
            )
        until = time.monotonic() + self._patience
        while True:
            try:
                return self._answer(self._connected(until), content)
            except (ConnectionClosed, TimeoutError) as error:
                self._drop()
                if isinstance(error, ConnectionClosed) and _code(error) == TOO_LARGE:
                    raise RefusedError("too_large", "the server takes no such message") from error
                if time.monotonic() > until:
                    raise ServerGoneError(f"{self.url}: no answer ({error})") from error

    def _answer(self, socket: ClientConnection, content: bytes) -> dict[str, Any]:
        socket.send(content)
        until = time.monotonic() + self._timeout
        while True:
            told = decode(_bytes(socket.recv(timeout=max(0.0, until - time.monotonic()))))
            if told.get("id") not in (self._number, None):
                continue  # of a request that was given up
            if told["type"] == "error":
                kind = EpisodeLostError if told["code"] == "out_of_step" else RefusedError
                raise kind(told["code"], told["message"])
            answer: dict[str, Any] = told
            return answer

    def _connected(self, until: float) -> ClientConnection:
        """The connection, made again until a moment if need be."""
        pause = FIRST_PAUSE
        while self._socket is None:
            try:
                self._socket = self._opened()
            except InvalidStatus as error:
                status = error.response.status_code
                if status in REFUSALS:
                    reason = error.response.body.decode(errors="replace")
                    raise RefusedError(f"status {status}", reason) from error
                problem: Exception = error
            except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError) as error:
                problem = error
            if self._socket is None:
                self._drop()
                if time.monotonic() + pause > until:
                    raise ServerGoneError(f"{self.url}: not reached ({problem})") from problem
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return self._socket

    def _opened(self) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else None
        socket: ClientConnection = self._open.enter_context(
            connect(
                self.url,
                additional_headers=headers,
                compression=None,
                max_size=MOST_BYTES,
                open_timeout=self._timeout,
                close_timeout=1.0,
            )
        )
        told = decode(_bytes(socket.recv(timeout=self._timeout)))
        if told.get("type") != "hello" or told.get("protocol") != PROTOCOL:
            self._drop()
            raise RefusedError("protocol", f"{self.url} does not speak protocol {PROTOCOL}")
        self.hello = told
        self.reconnections += 1
        return socket

    def _drop(self) -> None:
        self._open.close()
        self._socket = None


def _code(error: ConnectionClosed) -> int | None:
    return None if error.rcvd is None else error.rcvd.code


def _bytes(content: str | bytes) -> bytes:
    if isinstance(content, str):
        raise RefusedError("protocol", "the server sent a text")
    return content
