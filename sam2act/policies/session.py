"""Acting with a trained policy: the way in for robots and simulators; neither is imported here.

Keeps what belongs to running episodes (memories per environment), encodes instructions, checks
inputs. Legend: B environments of a call, L language tokens, D token width, R rows of a forward.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sam2act.core.specs import PolicySpec
from sam2act.core.types import (
    ActionChunk,
    ContractError,
    Instruction,
    Observation,
    environment_ids,
)
from sam2act.language.text_encoder import InstructionEncoder, build_text_encoder
from sam2act.policies.base import Policy, PolicyState, state_bytes
from sam2act.policies.checkpoint import PolicyBundle, load_policy
from sam2act.policies.observations import random_observation, validate_observation

CACHED_INSTRUCTIONS = 256
AUTOCAST_DTYPES = (torch.float16, torch.bfloat16)


class PolicySession:
    """A policy for any number of environments, each at its own step.

    Environments are named by ids, any whole numbers. An id that is new, or was reset, starts an
    episode. Ids may come in any order and any subset per call.
    """

    def __init__(
        self,
        bundle: PolicyBundle,
        *,
        dtype: torch.dtype | None = None,
        batch_size: int | None = None,
        text_encoder: InstructionEncoder | None = None,
        validate: bool = True,
    ) -> None:
        """Act with the policy of `bundle`, on the device of its weights.

        Args:
            bundle: a loaded or fresh policy.
            dtype: torch.bfloat16 or torch.float16 for mixed precision; None = as the key
                `eval.precision` says, float32 unless it was changed.
            batch_size: rows of every forward pass. Environment e then always takes row
                `e % batch_size` and the other rows are filled up, so that on one machine its
                actions do not depend, to the last bit, on which environments share a call. Number
                environments 0, 1, ...: two that want the same row need two passes. None = the
                environments of a call make one pass, and actions differ by rounding.
            text_encoder: for instructions given as texts.
            validate: check every input (waits for the device once per call).

        Raises:
            ContractError: an option is impossible, or the encoder is not the trained kind.
        """
        if dtype not in (None, torch.float32, *AUTOCAST_DTYPES):
            raise ContractError(f"dtype: expected float32, float16 or bfloat16, got {dtype}")
        if batch_size is not None and batch_size < 1:
            raise ContractError(f"batch_size: expected at least 1 or None, got {batch_size}")
        self.policy = bundle.policy.eval()
        self.device = next(bundle.policy.parameters()).device
        self.dtype = dtype or getattr(torch, bundle.experiment.eval.precision)
        self.batch_size = batch_size
        self.validate = validate
        self.forward_passes = 0  # of the network, since construction
        self._transforms = bundle.transforms
        self._spec = bundle.transforms.spec
        self._instructions = InstructionCache(self._spec, text_encoder, self.device)
        self._states = EnvironmentStates.none(self.policy, self.device)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        batch_size: int | None = None,
        text_encoder: InstructionEncoder | None = None,
        validate: bool = True,
    ) -> PolicySession:
        """The policy of a stage-1 or stage-2 checkpoint; for options see the constructor.

        Raises:
            CheckpointError, WeightsError, ConfigError: see `policies.checkpoint.load_policy`.
        """
        return cls(
            load_policy(path, device=device),
            dtype=dtype,
            batch_size=batch_size,
            text_encoder=text_encoder,
            validate=validate,
        )

    @property
    def spec(self) -> PolicySpec:
        """What must be observed for the policy, and what it gives."""
        return self._spec

    @property
    def state_bytes(self) -> int:
        """Bytes of all that the policy remembers."""
        return state_bytes(self._states.state)

    # ------------------------------------------------------------------------------- episodes
    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start new episodes in `env_ids` (None: in all, whose memory is then given back)."""
        if env_ids is None:
            self._states = EnvironmentStates.none(self.policy, self.device)
        else:
            self._states = self._states.restarted(environment_ids(env_ids, len(env_ids)))

    @torch.no_grad()
    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        """The next actions of every environment; memories take up the observation.

        Args:
            observation: B environments, on any device.
            language: B texts or token features (B, L, D).
            env_ids: ids of the B environments; None = 0, 1, ..., B - 1.

        Returns:
            values (B, H, A) on the observation's device, as `spec.action` says; `valid` is False
            for environments that show nothing to act on, which a check of inputs refuses.

        Raises:
            ContractError: invalid input, or texts without a text encoder. Memories are unchanged.
        """
        if self.validate:
            validate_observation(observation, self.spec, language)
        ids = environment_ids(env_ids, len(observation))
        tokens = self._instructions.features(language)
        home = observation.rgb.device
        observed = observation.to(self.device)
        observation = self._transforms.observation(observed)
        states = self._states.including(ids)
        rows, values, valid = [], [], []
        for part in batch_slots(ids, self.batch_size):
            index = torch.tensor(part.rows, device=self.device)
            part_ids = [ids[row] for row in part.rows]
            action, states = self._forward(
                observation.select(index), tokens[index], part, part_ids, states
            )
            rows += [part.rows[slot] for slot in part.slots]
            values.append(action.values[part.slots])
            valid.append(action.valid[part.slots])
        self._states = states
        order = torch.tensor(rows, device=self.device).argsort()
        chunk = ActionChunk(torch.cat(values)[order], torch.cat(valid)[order], action.space)
        chunk = self._transforms.action_after(chunk, observed)
        return ActionChunk(chunk.values.to(home), chunk.valid.to(home), chunk.space)

    def _forward(
        self,
        observation: Observation,
        tokens: Tensor,
        part: BatchSlots,
        ids: Sequence[int],
        states: EnvironmentStates,
    ) -> tuple[ActionChunk, EnvironmentStates]:
        """One pass of R rows; only the slots that count enter the memories."""
        self.forward_passes += 1
        with self._precision():
            chunk, state = self.policy.act(observation, tokens, states.select(ids))
        slots = torch.tensor(part.slots, device=self.device)
        return chunk, states.updated([ids[slot] for slot in part.slots], state.select(slots))

    def warm_up(self, batch: int | None = None) -> None:
        """Run `batch` random environments (None: `batch_size`, else 1) and forget them.

        The first passes on a device are slow; this takes them out of the first episode. Memories
        of running episodes and the counter stay as they are.
        """
        self._time_acts(2, batch or self.batch_size or 1)  # without memories, then with

    def time_passes(self, count: int) -> list[float]:
        """Seconds of successive calls of `act` for one random environment, after a warm-up.

        Memories of running episodes and the counter stay as they are.
        """
        self._time_acts(2, 1)
        return self._time_acts(count, 1)

    def _time_acts(self, count: int, batch: int) -> list[float]:
        """Seconds of `count` calls for `batch` random environments, which are then forgotten."""
        observation = random_observation(self.spec, batch, torch.Generator().manual_seed(0))
        tokens = torch.zeros(batch, *self.spec.token_shape)
        states, passes = self._states, self.forward_passes
        self.reset()
        seconds = []
        try:
            for _ in range(count):
                started = time.perf_counter()
                self.act(observation, tokens)  # its result is on the CPU: the device has ended
                seconds.append(time.perf_counter() - started)
        finally:
            self._states, self.forward_passes = states, passes
        return seconds

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if self.dtype not in AUTOCAST_DTYPES:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)


# ------------------------------------------------------------------------------------ batching
@dataclass(frozen=True)
class BatchSlots:
    """Which rows of a call go into one forward pass, and which of its rows count."""

    rows: list[int]  # per slot: row of the call; slots that do not count repeat one
    slots: list[int]  # slots that count


def batch_slots(ids: Sequence[int], batch_size: int | None) -> list[BatchSlots]:
    """Distribute the environments `ids` of a call over forward passes of fixed size.

    Environment e takes slot `e % batch_size`: the place within a batch can change the rounding.
    """
    if batch_size is None:
        return [BatchSlots(list(range(len(ids))), list(range(len(ids))))]
    passes: list[dict[int, int]] = []  # slot -> row of the call
    for row, env_id in enumerate(ids):
        slot = env_id % batch_size
        free = next((taken for taken in passes if slot not in taken), None)
        if free is None:
            passes.append(free := {})
        free[slot] = row
    plans = []
    for taken in passes:
        filler = next(iter(taken.values()))
        rows = [taken.get(slot, filler) for slot in range(batch_size)]
        plans.append(BatchSlots(rows, sorted(taken)))
    return plans


# -------------------------------------------------------------------------------------- states
@dataclass(frozen=True)
class EnvironmentStates:
    """What a policy remembers of environments, by id; every change gives a new object."""

    policy: Policy
    device: torch.device
    state: PolicyState
    row_of: dict[int, int]  # id -> row of the state

    @classmethod
    def none(cls, policy: Policy, device: torch.device) -> EnvironmentStates:
        """Those of no environment."""
        return cls(policy, device, policy.initial_state(0), {})

    def including(self, ids: Sequence[int]) -> EnvironmentStates:
        """With those of `ids` that are new at the start of an episode."""
        new = [env_id for env_id in ids if env_id not in self.row_of]
        if not new:
            return self
        known = len(self.row_of)
        state = self.policy.initial_state(known + len(new))
        if known:
            state = state.put(torch.arange(known, device=self.device), self.state)
        rows = {env_id: known + place for place, env_id in enumerate(new)}
        return dataclasses.replace(self, state=state, row_of=self.row_of | rows)

    def restarted(self, ids: Sequence[int]) -> EnvironmentStates:
        """With those of `ids` that are known at the start of an episode."""
        known = [env_id for env_id in ids if env_id in self.row_of]
        if not known:
            return self
        return dataclasses.replace(self, state=self.state.reset(self._rows(known)))

    def select(self, ids: Sequence[int]) -> PolicyState:
        """The state of `ids`, one row each; an id may occur repeatedly."""
        return self.state.select(self._rows(ids))

    def updated(self, ids: Sequence[int], state: PolicyState) -> EnvironmentStates:
        """With the state of `ids` replaced by the rows of `state`."""
        return dataclasses.replace(self, state=self.state.put(self._rows(ids), state))

    def _rows(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([self.row_of[env_id] for env_id in ids], device=self.device)


# ------------------------------------------------------------------------------------ language
def trained_encoder(bundle: PolicyBundle) -> InstructionEncoder | None:
    """The text encoder that a policy was trained with; None if it takes no instruction.

    Raises:
        LanguageError: there is none of these sizes.
    """
    if bundle.policy.spec.language is None:
        return None
    return build_text_encoder(bundle.experiment.language, *bundle.policy.spec.language_shape)


class InstructionCache:
    """Token features of texts, encoded once each."""

    def __init__(
        self, spec: PolicySpec, encoder: InstructionEncoder | None, device: torch.device
    ) -> None:
        self.spec, self.encoder, self.device = spec, encoder, device
        self._features: dict[str, Tensor] = {}
        family = getattr(encoder, "family", self._kind)
        if not family.startswith(self._kind):
            raise ContractError(
                f"text_encoder: expected {self._kind}, with which the policy was trained, "
                f"got {family}; {self._remedy()}"
            )

    @property
    def _kind(self) -> str:
        """Kind of encoder that the policy was trained with."""
        return "" if self.spec.language is None else self.spec.language.encoder

    def features(self, language: Instruction) -> Tensor:
        """(B, L, D) on the policy's device; zeros for a policy that takes no instruction.

        Raises:
            ContractError: texts without an encoder, or an encoder of other sizes.
        """
        if self.spec.language is None:
            return torch.zeros(len(language), *self.spec.token_shape, device=self.device)
        if isinstance(language, Tensor):
            return language.to(self.device, torch.float32)
        new = [text for text in dict.fromkeys(language) if text not in self._features]
        if new:
            encoded = dict(zip(new, self._encode(new), strict=True))
            self._features |= encoded
        features = torch.stack([self._features[text] for text in language])
        while len(self._features) > CACHED_INSTRUCTIONS:
            self._features.pop(next(iter(self._features)))
        return features

    def _encode(self, texts: list[str]) -> Tensor:
        if self.encoder is None:
            raise ContractError(
                "language: expected token features, since the policy has no text encoder, got "
                f"texts; {self._remedy()}"
            )
        features = self.encoder.encode(texts)
        shape = (len(texts), *self.spec.language_shape)
        if tuple(features.shape) != shape:
            raise ContractError(
                f"text_encoder: expected features (N, L, D) = {shape}, got "
                f"{tuple(features.shape)}; {self._remedy()}"
            )
        return features.to(self.device, torch.float32)

    def _remedy(self) -> str:
        length, width = self.spec.language_shape
        kind = self._kind
        return (
            "pass text_encoder=sam2act.language.text_encoder.build_text_encoder("
            f"LanguageConfig(encoder={kind!r}), {length}, {width}) with LanguageConfig of "
            "sam2act.config.experiment"
        )


KeyframePolicy = PolicySession  # its name when keyframe policies were the only ones
