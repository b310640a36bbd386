"""Whole episodes of an online policy: the frames it sees, and what it reaches without noise.

Legend: T frames of an observation, S pixels per side, A numbers of an action.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np
import torch

from sam2act.core.types import Observation
from sam2act.policies.checkpoint import PolicyBundle


class Episodes(Protocol):
    """The part of an environment that is used here; see `envs.base.Env`."""

    def reset(self, variation: int, seed: int) -> tuple[list[str], Any]:
        """Start an episode."""
        ...

    def step(self, action: np.ndarray, control: str) -> Any:
        """Act."""
        ...


class FrameStack:
    """The last frames of an episode, on top of each other."""

    def __init__(self, frames: int) -> None:
        self._kept: deque[np.ndarray] = deque(maxlen=frames)

    def begin(self, frame: np.ndarray) -> None:
        """Forget the last episode; the first frame (S, S, 3) stands for those before."""
        for _ in range(self._kept.maxlen or 1):
            self._kept.append(frame)

    def add(self, frame: np.ndarray) -> None:
        """The next frame (S, S, 3)."""
        self._kept.append(frame)

    def pixels(self) -> torch.Tensor:
        """(1, 3 T, S, S) uint8."""
        return torch.from_numpy(np.stack(self._kept)).permute(0, 3, 1, 2).flatten(0, 1)[None]


def picture(bundle: PolicyBundle, observation: Any) -> np.ndarray:
    """(S, S, 3) uint8 what the policy's camera sees, as the transforms change it."""
    frame, camera = observation.frame(), bundle.policy.spec.cameras[0]
    objects = frame.mask.get(camera)
    numbers = None if objects is None else torch.from_numpy(objects.astype(np.int64))
    seen = Observation(
        rgb=torch.from_numpy(np.ascontiguousarray(frame.rgb[camera]))[None, None],
        cameras=(camera,),
        mask=None if numbers is None else numbers[None, None],
    )
    changed: np.ndarray = bundle.transforms.observation(seen).rgb[0, 0].cpu().numpy()
    return changed


def episode_returns(bundle: PolicyBundle, env: Episodes, episodes: int, seed: int) -> list[float]:
    """Sums of rewards of `episodes` episodes with seeds from `seed` on."""
    policy, returns = bundle.policy.eval(), []
    for number in range(episodes):
        stack = FrameStack(len(policy.spec.offsets))
        stack.begin(picture(bundle, env.reset(0, seed + number)[1]))
        total, done = 0.0, False
        while not done:
            result = env.step(best_action(bundle, stack), policy.spec.action.mode)
            total, done = total + result.reward, bool(result.terminal)
            stack.add(picture(bundle, result.observation))
        returns.append(total)
    return returns


@torch.no_grad()
def best_action(bundle: PolicyBundle, stack: FrameStack) -> np.ndarray:
    """(A,) the action without noise."""
    policy = bundle.policy
    pixels = stack.pixels().to(next(policy.parameters()).device)
    rgb = pixels.unflatten(1, (-1, 3)).permute(0, 1, 3, 4, 2)[:, :, None]
    chunk, _ = policy.act(Observation(rgb), torch.zeros(0), policy.initial_state(1))
    action: np.ndarray = chunk.values[0, 0].cpu().numpy()
    return action
