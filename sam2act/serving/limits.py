"""What a server allows its clients, so that none of them can exhaust or stop it."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.core.errors import require, require_positive

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds on requests, sessions and time."""

    request_bytes: int = 32 * MEBIBYTE  # of one request, after which the connection is closed
    image_pixels: int = 16_000_000  # of one uploaded picture, before it is unpacked
    instruction_characters: int = 2_000
    connections: int = 256  # websockets that may be open at once
    sessions: int = 64  # that may exist at once
    waiting: int = 256  # requests that may wait for their answers, over all connections
    idle_seconds: float = 600.0  # after which a session that nobody uses is forgotten
    receive_seconds: float = 30.0  # within which a request must have arrived
    send_seconds: float = 10.0  # within which a client must take an answer
    batch_seconds: float = 0.005  # for which a request may wait for others to share its pass
    batch_size: int = 32  # requests that share a pass

    def __post_init__(self) -> None:
        whole = ("request_bytes", "image_pixels", "instruction_characters")
        require_positive(self, *whole, "connections", "sessions", "waiting", "batch_size")
        for name in ("idle_seconds", "receive_seconds", "send_seconds"):
            require(getattr(self, name) > 0, f"{name} must be above 0")
        require(0 <= self.batch_seconds <= 1, "batch_seconds must be from 0 to 1")
