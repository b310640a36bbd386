"""Who acts for the sessions of a server: a policy and its executor, in one thread.

Legend: B turns, H actions of a chunk, A numbers of an action.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sam2act.core.errors import UserError
from sam2act.core.specs import TIME
from sam2act.core.types import (
    ActionChunk,
    ContractError,
    Frame,
    Observation,
    Session,
    tensors_in,
)
from sam2act.envs.policy_inputs import FrameHistory, policy_observation
from sam2act.policies.executors import build_executor
from sam2act.policies.observations import validate_observation


@dataclass(frozen=True)
class Turn:
    """A session that waits for its next action.

    Attributes:
        env_id: its number for the policy.
        frame: what its robot reports.
        instruction: what it is to do; policies without instructions do not read it.
        step: actions that it has had in its episode.
        begins: an episode begins; nothing of an earlier one may remain.
        chunk: it wants all actions that the policy predicts, not the one to execute now.
    """

    env_id: int
    frame: Frame
    instruction: str
    step: int
    begins: bool
    chunk: bool = False


@dataclass(frozen=True)
class Answer:
    """What a session is to do.

    Attributes:
        actions: (H, A) float64; H = 1 unless the turn asked for a chunk.
        valid: (H,) bool; False where the policy says that an action does not count.
        space: control mode of the actions.
    """

    actions: np.ndarray
    valid: np.ndarray
    space: str


class Actor:
    """Acts in the turns of many sessions; turns of like images share a pass of the policy."""

    def __init__(
        self,
        policy: Session,
        executor: str = "",
        watch: Callable[[Session], Session] | None = None,
    ) -> None:
        """Act with `policy`.

        Args:
            policy: who predicts.
            executor: which actions of its chunks are executed; empty = as the policy says.
            watch: who stands between both and the sessions, such as `SafeSession`.

        Raises:
            ConfigError: there is no such executor.
        """
        self.executor = executor or policy.spec.executor
        acting = build_executor(self.executor, policy)
        self._executor: Session = acting
        self._policy = acting.policy  # its actions may be of another mode than `policy`'s
        if watch is not None:
            self._policy, self._executor = watch(acting.policy), watch(acting)
        self.spec = self._policy.spec
        self._history = FrameHistory(self.spec)
        self._one_frame = dataclasses.replace(self.spec, offsets=(0,))

    def act(self, turns: Sequence[Turn]) -> list[Answer | UserError]:
        """An answer to each of B turns of different sessions, or what is wrong with it."""
        found: list[Answer | UserError | None] = [None] * len(turns)
        groups: dict[object, list[tuple[int, Observation]]] = {}
        for place, turn in enumerate(turns):
            try:
                observation = self._observation(turn)
            except UserError as error:
                found[place] = error
                continue
            key = (turn.chunk, *(tensor.shape for tensor in tensors_in(observation)))
            groups.setdefault(key, []).append((place, observation))
        for members in groups.values():
            places = [place for place, _ in members]
            chunk = self._pass([turns[place] for place in places], [seen for _, seen in members])
            for place, answer in zip(places, _answers(chunk), strict=True):
                found[place] = answer
        return [answer for answer in found if answer is not None]

    def _observation(self, turn: Turn) -> Observation:
        """What the policy sees, checked before anything of it is kept.

        Raises:
            ContractError: the frame or the instruction is not what the policy needs.
        """
        self._require_state(turn.frame)
        now = policy_observation([turn.frame], self._one_frame, [turn.step])
        validate_observation(now, self._one_frame, [turn.instruction])
        if turn.begins:
            self._history.begin(turn.env_id)
            self._policy.reset([turn.env_id])
            self._executor.reset([turn.env_id])
        return self._history.observe([turn.env_id], [turn.frame], [turn.step])

    def _require_state(self, frame: Frame) -> None:
        parts = [part for part in self.spec.state if part != TIME]
        absent = [part.name for part in parts if part.name not in frame.state]
        if absent:
            told = ", ".join(f"{part.name} ({part.size} numbers)" for part in parts)
            raise ContractError(
                f"state: the policy was trained with {told} beside the images, and the request has "
                f"no {', '.join(absent)}; send it as part of `state`, or serve a policy that was "
                "trained without it"
            )

    def _pass(self, turns: Sequence[Turn], seen: Sequence[Observation]) -> ActionChunk:
        who = self._policy if turns[0].chunk else self._executor
        texts = [turn.instruction for turn in turns]
        with torch.inference_mode():
            return who.act(Observation.join(seen), texts, [turn.env_id for turn in turns])


def _answers(chunk: ActionChunk) -> list[Answer]:
    def rows(values: Tensor) -> np.ndarray:
        return np.asarray(values.cpu().numpy())

    values, valid = rows(chunk.values.double()), rows(chunk.valid)
    return [Answer(*pair, chunk.space) for pair in zip(values, valid, strict=True)]
