"""The dialect of openpi, with the two additions of RoboMME.

The server greets with a map. A client sends an observation and gets `{"actions": (H, A),
"server_timing"}`: all actions that the policy predicts, since these clients execute chunks by
themselves. A connection is a session; its first observation begins an episode, and so does one with
`is_first_step`, or `{"reset": True}`, which is answered `{"reset_finished": True}`. An error is
sent as a text, and the connection is closed with 1011.
"""

from __future__ import annotations

from typing import Any

from sam2act import __version__
from sam2act.serving.dialects.base import Failure, Message, Peer, flag_of, told_spec
from sam2act.serving.errors import RequestError
from sam2act.serving.frames import loose_frame
from sam2act.serving.service import Request

FAILED = 1011


class OpenpiDialect:
    """One connection; see the head of this module."""

    byte_keys, in_order = True, True

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def greeting(self) -> Message:
        """Metadata."""
        return {"server": f"sam2act {__version__}", "policy": told_spec(self._peer.service.spec)}

    async def answer(self, message: Any) -> Message:
        """The predicted actions, or that a reset is done."""
        service, name = self._peer.service, self._peer.name
        if isinstance(message, dict) and message.get("reset") is True:
            await service.reset(name)
            return {"reset_finished": True}
        frame, instruction = loose_frame(message, service.spec, self._peer.aliases)
        first = flag_of(message, "is_first_step")
        reply = await service.act(Request(name, frame, instruction, reset=first, chunk=True))
        milliseconds = {"infer_ms": 1e3 * reply.seconds}
        return {"actions": reply.answer.actions, "server_timing": milliseconds}

    def failure(self, message: Any, error: RequestError) -> Failure:
        """A text, and the end of the connection."""
        return Failure(str(error), FAILED)
