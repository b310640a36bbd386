"""Acting with a trained policy: the way in for robots and simulators; neither is imported here.

Keeps what belongs to running episodes (memories per environment), encodes instructions, checks
inputs. Legend: B environments of a call, L language tokens, D token width, R rows of a forward.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sam2act.config.schema import ExperimentConfig
from sam2act.core.specs import LanguageSpec, PolicySpec, square_cameras
from sam2act.core.types import (
    ActionChunk,
    ContractError,
    Instruction,
    Observation,
    environment_ids,
)
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.checkpoint import PolicyBundle, load_policy
from sam2act.policies.observations import random_observation, validate_observation
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.plus import SAM2ActPlusPolicy
from sam2act.policies.sam2act.plus_network import SAM2ActPlusNetwork

CACHED_INSTRUCTIONS = 256
AUTOCAST_DTYPES = (torch.float16, torch.bfloat16)


class TextEncoder(Protocol):
    """Encodes instructions; those of `sam2act.language` do."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, L, D) token features."""
        ...


def policy_spec(experiment: ExperimentConfig, network: NetworkConfig) -> PolicySpec:
    """What a policy of these configs needs and gives."""
    return PolicySpec(
        cameras=square_cameras(experiment.cameras, experiment.image_size, depth=True),
        language=LanguageSpec(experiment.language.encoder, network.lang_len, network.lang_dim),
        bounds=SceneBounds.from_sequence(experiment.scene_bounds),
        crop=experiment.rvt.move_pc_in_bound,
        past_keyframes=network.num_maskmem if network.use_memory else 0,
        keyframe_window=network.num_maskmem + 1,
    )


class KeyframePolicy:
    """SAM2Act or SAM2Act+ for any number of environments, each at its own step.

    Environments are named by ids, any whole numbers. An id that is new, or was reset, starts an
    episode. Ids may come in any order and any subset per call.
    """

    def __init__(
        self,
        bundle: PolicyBundle,
        *,
        dtype: torch.dtype | None = None,
        batch_size: int | None = None,
        text_encoder: TextEncoder | None = None,
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
        self._spec = policy_spec(bundle.experiment, bundle.network)
        self._instructions = InstructionCache(self._spec, text_encoder, self.device)
        self._banks = self._empty_banks()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        batch_size: int | None = None,
        text_encoder: TextEncoder | None = None,
        validate: bool = True,
    ) -> KeyframePolicy:
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
        """What the policy needs and gives."""
        return self._spec

    @property
    def bank_bytes(self) -> int:
        """Bytes of all memories; grows with the number of environments, not with their steps."""
        return 0 if self._banks is None else self._banks.nbytes

    # ------------------------------------------------------------------------------- episodes
    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start new episodes in `env_ids` (None: in all, whose memory is then given back)."""
        if env_ids is None:
            self._banks = self._empty_banks()
        elif self._banks is not None:
            self._banks = self._banks.emptied(environment_ids(env_ids, len(env_ids)))

    @torch.no_grad()
    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        """The next keyframe pose of every environment; memories take up the observation.

        Args:
            observation: B environments, on any device.
            language: B texts or token features (B, L, D).
            env_ids: ids of the B environments; None = 0, 1, ..., B - 1.

        Returns:
            values (B, 1, 9) on the observation's device, world frame, metres; `valid` is False
            for environments without a point in the workspace, which a check of inputs refuses.

        Raises:
            ContractError: invalid input, or texts without a text encoder. Memories are unchanged.
        """
        if self.validate:
            validate_observation(observation, self.spec, language)
        ids = environment_ids(env_ids, len(observation))
        tokens = self._instructions.features(language)
        home = observation.rgb.device
        observation = observation.to(self.device)
        banks = None if self._banks is None else self._banks.including(ids)
        rows, values, valid = [], [], []
        for plan in batch_slots(ids, self.batch_size):
            index = torch.tensor(plan.rows, device=self.device)
            plan_ids = [ids[row] for row in plan.rows]
            action, banks = self._forward(
                observation.select(index), tokens[index], plan, plan_ids, banks
            )
            rows += [plan.rows[slot] for slot in plan.slots]
            values.append(action.values[plan.slots])
            valid.append(action.valid[plan.slots])
        self._banks = banks
        order = torch.tensor(rows, device=self.device).argsort()
        return ActionChunk(
            torch.cat(values)[order].to(home), torch.cat(valid)[order].to(home), action.space
        )

    def _forward(
        self,
        observation: Observation,
        tokens: Tensor,
        plan: BatchSlots,
        ids: Sequence[int],
        banks: EnvironmentBanks | None,
    ) -> tuple[ActionChunk, EnvironmentBanks | None]:
        """One pass of R rows; only the slots of the plan enter the memories."""
        self.forward_passes += 1
        with self._precision():
            if banks is None:
                return self.policy.predict(observation, tokens).action, None
            assert isinstance(self.policy, SAM2ActPlusPolicy)
            past = banks.select(ids)
            prediction, bank = self.policy.predict_step(observation, tokens, past)
        slots = torch.tensor(plan.slots, device=self.device)
        banks = banks.updated([ids[slot] for slot in plan.slots], bank.select(slots))
        return prediction.action, banks

    def warm_up(self, batch: int | None = None) -> None:
        """Run `batch` random environments (None: `batch_size`, else 1) and forget them.

        The first passes on a device are slow; this takes them out of the first episode. Memories
        of running episodes and the counter stay as they are.
        """
        batch = batch or self.batch_size or 1
        observation = random_observation(self.spec, batch, torch.Generator().manual_seed(0))
        tokens = torch.zeros(batch, *self.spec.language_shape)
        banks, passes = self._banks, self.forward_passes
        self._banks = self._empty_banks()
        try:
            for _ in range(2):  # without memories, then with
                self.act(observation, tokens)
        finally:
            self._banks, self.forward_passes = banks, passes

    def _empty_banks(self) -> EnvironmentBanks | None:
        network = self.policy.network
        if not isinstance(network, SAM2ActPlusNetwork):
            return None
        return EnvironmentBanks(network, network.empty_bank(0), {})

    def _precision(self) -> contextlib.AbstractContextManager:
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


# ------------------------------------------------------------------------------------ memories
@dataclass(frozen=True)
class EnvironmentBanks:
    """Memories of environments by id; every change gives a new object."""

    network: SAM2ActPlusNetwork
    bank: MemoryBank
    row_of: dict[int, int]  # id -> row of the bank

    @property
    def nbytes(self) -> int:
        """Bytes of all memories."""
        return self.bank.frames.nbytes

    def including(self, ids: Sequence[int]) -> EnvironmentBanks:
        """With empty memories for those of `ids` that are new."""
        new = [env_id for env_id in ids if env_id not in self.row_of]
        if not new:
            return self
        start, added = len(self.row_of), self.network.empty_bank(len(new))
        assert self.bank.count is not None and added.count is not None
        bank = dataclasses.replace(
            self.bank,
            frames=torch.cat([self.bank.frames, added.frames]),
            count=torch.cat([self.bank.count, added.count]),
        )
        rows = {env_id: start + place for place, env_id in enumerate(new)}
        return dataclasses.replace(self, bank=bank, row_of=self.row_of | rows)

    def emptied(self, ids: Sequence[int]) -> EnvironmentBanks:
        """With the memories of those of `ids` that are known emptied."""
        known = [env_id for env_id in ids if env_id in self.row_of]
        if not known:
            return self
        return dataclasses.replace(self, bank=self.bank.reset(self._rows(known)))

    def select(self, ids: Sequence[int]) -> MemoryBank:
        """The memories of `ids`, one row each; an id may occur repeatedly."""
        return self.bank.select(self._rows(ids))

    def updated(self, ids: Sequence[int], bank: MemoryBank) -> EnvironmentBanks:
        """With the memories of `ids` replaced by the rows of `bank`."""
        return dataclasses.replace(self, bank=self.bank.replace_rows(self._rows(ids), bank))

    def _rows(self, ids: Sequence[int]) -> Tensor:
        rows = [self.row_of[env_id] for env_id in ids]
        return torch.tensor(rows, device=self.bank.frames.device)


# ------------------------------------------------------------------------------------ language
class InstructionCache:
    """Token features of texts, encoded once each."""

    def __init__(self, spec: PolicySpec, encoder: TextEncoder | None, device: torch.device) -> None:
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
        """(B, L, D) on the policy's device.

        Raises:
            ContractError: texts without an encoder, or an encoder of other sizes.
        """
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
            "sam2act.config.schema"
        )
