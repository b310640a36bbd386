"""Small policies behind servers, and what their robots report."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.actions import ActionSpec, Component
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, Observation
from sam2act.policies.base import Policy
from sam2act.policies.checkpoint import PolicyBundle
from sam2act.policies.session import PolicySession

SIDE, HORIZON = 8, 4
ACTION = ActionSpec("raw", (Component("push", 7, "m"),), horizon=HORIZON, rate=10.0)


@dataclass(frozen=True)
class Memory:
    """The sum of the colours that were seen in an episode."""

    total: Tensor  # (B,)

    def select(self, rows: Tensor) -> Memory:
        return Memory(self.total[rows])

    def put(self, rows: Tensor, other: Memory) -> Memory:
        return Memory(self.total.index_put((rows,), other.total))

    def reset(self, rows: Tensor) -> Memory:
        return self.put(rows, Memory(torch.zeros_like(self.total[rows])))


class Remembering(Policy):
    """Gives the mean colour of this picture, and of all of the episode added up."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__()
        self.scale, self._spec = nn.Parameter(torch.ones(())), spec

    @property
    def spec(self) -> PolicySpec:
        return self._spec

    def initial_state(self, n: int) -> Any:
        return Memory(torch.zeros(n))

    def act(
        self, observation: Observation, language: Tensor, state: Memory
    ) -> tuple[ActionChunk, Any]:
        if (observation.rgb == FORBIDDEN).all():
            raise RuntimeError("a fault of the policy")
        colour = observation.rgb.double().flatten(1).mean(1) * self.scale
        total = state.total + colour.float()
        action = torch.stack([colour, total, *torch.zeros(5, len(colour))], dim=1)
        values = action[:, None] + torch.arange(HORIZON)[:, None] / 10
        return ActionChunk(values, torch.ones(values.shape[:2], dtype=torch.bool), "raw"), Memory(
            total
        )


FORBIDDEN = 255  # a picture of this colour makes the policy fail


def remembering_session(cameras: tuple[str, ...] = ("front",), side: int = SIDE) -> PolicySession:
    """A session with a policy that remembers, sees colours alone and reads no instruction."""
    spec = PolicySpec(
        square_cameras(cameras, side, depth=False), language=None, state=(), action=ACTION
    )
    bundle = PolicyBundle(Remembering(spec), ExperimentConfig(), None)  # type: ignore[arg-type]
    return PolicySession(bundle)


def grey(value: int, side: int = SIDE) -> np.ndarray:
    """An image of one colour, which may be told apart from others in actions."""
    return np.full((side, side, 3), value, np.uint8)


def png(image: np.ndarray) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
