"""Our own dialect: any number of sessions per connection, steps that are counted by both ends.

The server greets with `{"type": "hello", "protocol": 1, "policy": ...}`. A client sends
`{"type": "act", "id", "session", "instruction", "observation", "step", "reset", "chunk"}`,
`{"type": "reset", "id", "session"}` or `{"type": "end", "id", "session"}`; only `type` and, to act,
`observation` must be there. Answers carry the same `id` and may come in any order:
`{"type": "action", "action": (A,), "valid", "step"}` or, for a chunk, `actions` (H, A) and `valid`
(H,); `{"type": "done"}`; `{"type": "error", "code", "message"}`.
"""

from __future__ import annotations

from typing import Any

from sam2act import __version__
from sam2act.serving.dialects.base import Failure, Message, Peer, flag_of, text_of, told_spec
from sam2act.serving.errors import RequestError
from sam2act.serving.frames import read_frame
from sam2act.serving.service import Reply, Request

PROTOCOL = 1
CANNOT_READ = 1003  # the connection is closed: data that cannot be accepted


class OwnDialect:
    """One connection; see the head of this module."""

    byte_keys, in_order = False, False

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def greeting(self) -> Message:
        """What the server is and wants."""
        service = self._peer.service
        return {
            "type": "hello",
            "protocol": PROTOCOL,
            "server": f"sam2act {__version__}",
            "policy": told_spec(service.spec),
            "executor": service.executor,
            "most_bytes": service.limits.request_bytes,
        }

    async def answer(self, message: Any) -> Message:
        """The answer to a request."""
        if not isinstance(message, dict):
            raise RequestError(
                "bad_request", f"message: expected a map, got {type(message).__name__}"
            )
        kind, name = message.get("type"), text_of(message, "session") or self._peer.name
        reply: Message = {"type": "done"}
        if kind == "act":
            reply = told_reply(await self._act(name, message), flag_of(message, "chunk"))
        elif kind == "reset":
            await self._peer.service.reset(name)
        elif kind == "end":
            await self._peer.service.end(name)
        else:
            raise RequestError("bad_request", f"type: {kind!r:.50} is not one of act, reset, end")
        return {**reply, "id": message.get("id")}

    async def _act(self, name: str, message: Message) -> Reply:
        step = message.get("step")
        if step is not None and (not isinstance(step, int) or isinstance(step, bool) or step < 0):
            raise RequestError("bad_request", f"step: expected a whole number, got {step!r:.50}")
        request = Request(
            session=name,
            frame=read_frame(message.get("observation")),
            instruction=text_of(message, "instruction"),
            step=step,
            reset=flag_of(message, "reset"),
            chunk=flag_of(message, "chunk"),
        )
        return await self._peer.service.act(request)

    def failure(self, message: Any, error: RequestError) -> Failure:
        """An error; what cannot be read ends the connection."""
        told = {"type": "error", "code": error.code, "message": str(error)}
        if not isinstance(message, dict):
            return Failure({**told, "id": None}, CANNOT_READ)
        return Failure({**told, "id": message.get("id")})


def told_reply(reply: Reply, chunk: bool) -> Message:
    """The actions of a reply."""
    answer = reply.answer
    values: Message = {"action": answer.actions[0], "valid": bool(answer.valid[0])}
    if chunk:
        values = {"actions": answer.actions, "valid": answer.valid}
    milliseconds = {"total_ms": 1e3 * reply.seconds}
    return {"type": "action", **values, "step": reply.step, "server_timing": milliseconds}
