"""What a dialect is: how messages of one connection become requests, and answers messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sam2act.core.specs import PolicySpec
from sam2act.serving.errors import RequestError
from sam2act.serving.service import Service

Message = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """The other end of a connection.

    Attributes:
        service: who answers.
        name: of this connection; the session of clients that name none.
        aliases: names in observations -> names that `frames.loose_frame` knows.
    """

    service: Service
    name: str
    aliases: Mapping[str, str] = field(default_factory=dict)


class Failure(NamedTuple):
    """How a client is told of an error; `close` is the code with which the connection then ends."""

    message: Message | str
    close: int | None = None


class Dialect(Protocol):
    """One connection."""

    byte_keys: bool  # arrays are written as openpi does
    in_order: bool  # a message is read when the one before is answered

    def __init__(self, peer: Peer) -> None: ...

    def greeting(self) -> Message | None:
        """What is sent first; None = nothing."""
        ...

    async def answer(self, message: Any) -> Message | None:
        """The answer to a message; None = there is none.

        Raises:
            RequestError, ContractError: something is wrong with it.
        """
        ...

    def failure(self, message: Any, error: RequestError) -> Failure:
        """What is sent instead of the answer to `message`; None = it could not be read."""
        ...


def told_spec(spec: PolicySpec) -> Message:
    """What a policy wants and gives, in plain values."""
    return {
        "cameras": [
            {"name": c.name, "height": c.height, "width": c.width, "depth": c.depth}
            for c in spec.camera_specs
        ],
        "state": [{"name": part.name, "size": part.size, "unit": part.unit} for part in spec.state],
        "instruction": spec.language is not None,
        "action": {
            "mode": spec.action.mode,
            "size": spec.action.size,
            "horizon": spec.action.horizon,
            "rate": spec.action.rate,
            "components": [
                {"name": part.name, "size": part.size, "unit": part.unit, "frame": part.frame}
                for part in spec.action.components
            ],
        },
    }


def text_of(message: Mapping[Any, Any], key: str, default: str = "") -> str:
    """The text under `key`.

    Raises:
        RequestError: it is something else.
    """
    value = message.get(key, default)
    if not isinstance(value, str):
        raise RequestError("bad_request", f"{key}: expected a text, got {type(value).__name__}")
    return value


def flag_of(message: Mapping[Any, Any], key: str) -> bool:
    """The truth value under `key`; absent means False.

    Raises:
        RequestError: it is something else.
    """
    value = message.get(key, False)
    if not isinstance(value, bool):
        raise RequestError("bad_request", f"{key}: expected true or false, got {value!r:.50}")
    return value
