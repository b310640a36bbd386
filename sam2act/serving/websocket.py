"""A websocket connection: frames in, answers out, in the dialect of the client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from sam2act.serving.codec import decode, encode
from sam2act.serving.dialects.base import Dialect, Message, Peer
from sam2act.serving.dialects.openpi import OpenpiDialect
from sam2act.serving.dialects.own import OwnDialect
from sam2act.serving.dialects.vla_eval import VlaEvalDialect
from sam2act.serving.errors import RequestError, as_request_error
from sam2act.serving.limits import Limits
from sam2act.serving.service import Service

LOGGER = logging.getLogger(__name__)
DIALECTS: Mapping[str, type[Dialect]] = {
    "sam2act": OwnDialect,
    "openpi": OpenpiDialect,
    "vla-eval": VlaEvalDialect,
}
AT_ONCE = 8  # requests of one connection that are read before they are answered
SHORT = 100_000  # bytes that are decoded without a thread


class Conversation:
    """The messages of one connection."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        dialect: Dialect,
        limits: Limits,
        name: str,
    ) -> None:
        self._transport = transport
        self._socket, self._dialect, self._limits, self._name = socket, dialect, limits, name
        self._free = asyncio.Semaphore(1 if dialect.in_order else AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer until the client leaves, is idle for too long, or breaks the rules."""
        greeting = self._dialect.greeting()
        if greeting is not None:
            await self._send(greeting)
        try:
            while not self._socket.closed:
                message = await self._socket.receive(timeout=self._limits.idle_seconds)
                if message.type is WSMsgType.BINARY:
                    await self._free.acquire()
                    self._begin(message.data)
                elif message.type is WSMsgType.TEXT:
                    await self._close(WSCloseCode.UNSUPPORTED_DATA, "send msgpack, not text")
                else:  # closed by the client, or by aiohttp: too large, malformed
                    break
        except asyncio.TimeoutError:
            await self._close(WSCloseCode.GOING_AWAY, "idle for too long")
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, content: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(content))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()
        if not task.cancelled() and task.exception() is not None:
            LOGGER.info("connection %s: %r", self._name, task.exception())

    async def _answer(self, content: bytes) -> None:
        message: Any = None
        try:
            message = await self._decoded(content)
            reply = await self._dialect.answer(message)
        except Exception as error:  # the server goes on
            await self._fail(message, error)
            return
        if reply is not None:
            await self._send(reply)

    async def _decoded(self, content: bytes) -> Any:
        if len(content) <= SHORT:
            return decode(content, self._limits.image_pixels)
        return await asyncio.to_thread(decode, content, self._limits.image_pixels)

    async def _fail(self, message: Any, error: Exception) -> None:
        wrong = as_request_error(error)
        if wrong.code == "internal" and not isinstance(error, RequestError):
            LOGGER.exception("connection %s failed", self._name)
        failure = self._dialect.failure(message, wrong)
        await self._send(failure.message)
        if failure.close is not None:
            await self._close(failure.close, wrong.code)

    async def _send(self, message: Message | str) -> None:
        """Send, or end the connection if the client does not take it in time."""
        if isinstance(message, str):
            sending = self._socket.send_str(message)
        else:
            content = encode(message, byte_keys=self._dialect.byte_keys)
            sending = self._socket.send_bytes(content)
        with contextlib.suppress(ConnectionError):  # the client has left
            try:
                await asyncio.wait_for(sending, self._limits.send_seconds)
            except asyncio.TimeoutError:
                LOGGER.warning("connection %s: its client takes no answers; closed", self._name)
                if self._transport is not None:
                    self._transport.abort()  # a closing message would not be taken either

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
            sending = self._socket.close(code=code, message=reason.encode()[:120])
            await asyncio.wait_for(sending, self._limits.send_seconds)


def new_socket(limits: Limits) -> web.WebSocketResponse:
    """A websocket that takes no larger messages than the limits say."""
    return web.WebSocketResponse(
        max_msg_size=limits.request_bytes, compress=False, timeout=limits.send_seconds
    )


async def converse(
    request: web.Request,
    socket: web.WebSocketResponse,
    dialect: str,
    service: Service,
    aliases: Mapping[str, str],
) -> None:
    """Answer a connection until it ends; the session without a name ends with it.

    Args:
        request: with which it was asked for.
        socket: prepared for it.
        dialect: what is spoken.
        service: who answers.
        aliases: see `Peer`.
    """
    name = f"connection {uuid.uuid4()}"
    speaker = DIALECTS[dialect](Peer(service, name, aliases))
    try:
        await Conversation(socket, request.transport, speaker, service.limits, name).run()
    finally:
        await service.end(name)
