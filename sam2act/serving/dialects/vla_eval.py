"""The dialect of vla-eval, protocol 1.

Messages are `{"type", "payload", "seq", "timestamp"}`. `hello` is answered with what the policy
wants and gives, `episode_start` begins an episode, `observation` is answered with `action`, whose
`actions` (A,) is what the executor chooses; `episode_end` needs no answer. An error leaves the
connection open. A connection is a session.
"""

from __future__ import annotations

import time
from typing import Any

from sam2act import __version__
from sam2act.core.actions import ActionSpec, Component
from sam2act.core.specs import PolicySpec
from sam2act.core.vla_eval_names import vla_eval_names
from sam2act.serving.dialects.base import Failure, Message, Peer
from sam2act.serving.errors import RequestError
from sam2act.serving.frames import loose_frame
from sam2act.serving.service import Request

PROTOCOL = 1
CANNOT_READ = 1003


class VlaEvalDialect:
    """One connection; see the head of this module."""

    byte_keys, in_order = False, True

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def greeting(self) -> None:
        """The client speaks first."""

    async def answer(self, message: Any) -> Message | None:
        """The answer to a message of vla-eval."""
        kind, payload, sequence = _parts(message)
        service = self._peer.service
        if kind == "hello":
            return _message("hello", hello(service.spec), sequence)
        if kind == "episode_start":
            await service.reset(self._peer.name)
        elif kind == "observation":
            frame, text = loose_frame(payload, service.spec, self._peer.aliases)
            reply = await service.act(Request(self._peer.name, frame, text))
            return _message("action", {"actions": reply.answer.actions[0]}, sequence)
        elif kind not in ("episode_end", "error"):
            raise RequestError("bad_request", f"type: {kind!r:.50} is unknown")
        return None

    def failure(self, message: Any, error: RequestError) -> Failure:
        """An error; what cannot be read ends the connection."""
        told = {"error": f"{error.code}: {error}"}
        if not isinstance(message, dict):
            return Failure(_message("error", told, 0), CANNOT_READ)
        sequence = message.get("seq")
        return Failure(_message("error", told, sequence if isinstance(sequence, int) else 0))


def _parts(message: Any) -> tuple[Any, dict[Any, Any], int]:
    if not isinstance(message, dict):
        raise RequestError("bad_request", f"message: expected a map, got {type(message).__name__}")
    payload, sequence = message.get("payload"), message.get("seq")
    if not isinstance(payload, dict) or not isinstance(sequence, int):
        raise RequestError("bad_request", "message: expected a map `payload` and a number `seq`")
    return message.get("type"), payload, sequence


def _message(kind: str, payload: Message, sequence: int) -> Message:
    return {"type": kind, "payload": payload, "seq": sequence, "timestamp": time.time()}


def hello(spec: PolicySpec) -> Message:
    """What vla-eval compares with its benchmarks."""
    wanted = {
        camera.name: {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"}
        for camera in spec.camera_specs
    }
    if spec.language is not None:
        wanted["language"] = {"name": "language", "dims": 0, "format": "language"}
    return {
        "harness_version": f"sam2act {__version__}",
        "protocol_version": PROTOCOL,
        "model_server": "sam2act",
        "capabilities": {},
        "action_spec": action_spec(spec.action),
        "observation_spec": wanted,
    }


def action_spec(action: ActionSpec) -> Message:
    """The components of an action in vla-eval's words."""
    return dict(_component(part) for part in action.components)


def _component(part: Component) -> tuple[str, Message]:
    name, form = vla_eval_names(part)
    told: Message = {"name": name, "dims": part.size, "format": form}
    if part.low is not None and part.high is not None:
        told["range"] = [part.low, part.high]
    return name, told
