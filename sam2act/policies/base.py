"""What a policy is: the one interface that trainer, session, evaluation and commands know.

Legend: B environments or samples, L language tokens, D token width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sam2act.config.component import PolicyConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.registry import DEFAULT_POLICY, POLICIES
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk, Batch, LossOutput, Observation
from sam2act.core.weight_names import (
    LoadReport,
    WeightsError,
    misfit,
    require_finite,
    unwrapped,
)

Part = slice | Tensor
SomeState = TypeVar("SomeState", bound="PolicyState")


class Noise(Protocol):
    """All random numbers of the loss of B samples, one row per sample."""

    def select(self, part: Part) -> Noise:
        """Those of some samples, for example of one process."""
        ...

    def to(self, device: torch.device | str) -> Noise:
        """The same numbers on `device`."""
        ...


class PolicyState(Protocol):
    """What a policy remembers of B environments; only the policy knows what it holds."""

    def select(self: SomeState, rows: Tensor) -> SomeState:
        """That of the environments `rows` (R,), in that order; a row may occur repeatedly."""
        ...

    def put(self: SomeState, rows: Tensor, other: SomeState) -> SomeState:
        """With `rows` (R,) replaced by the R environments of `other`."""
        ...

    def reset(self: SomeState, rows: Tensor) -> SomeState:
        """With `rows` (R,) as at the start of an episode."""
        ...


@dataclass(frozen=True)
class Seeds:
    """Noise for policies that draw their random numbers themselves: one seed per sample."""

    seed: Tensor  # (B,) int64

    def select(self, part: Part) -> Seeds:
        """Those of some samples."""
        return Seeds(self.seed[part])

    def to(self, device: torch.device | str) -> Seeds:
        """The same seeds; they are needed as numbers and stay where they are."""
        return self


@dataclass(frozen=True)
class NoState:
    """The state of a policy that remembers nothing."""

    def select(self, rows: Tensor) -> NoState:
        """Nothing."""
        return self

    def put(self, rows: Tensor, other: NoState) -> NoState:
        """Nothing."""
        return self

    def reset(self, rows: Tensor) -> NoState:
        """Nothing."""
        return self


class WeightAdapter:
    """How the weights of a policy are named in files; by default as in the module itself."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def parameter_name(self, name: str) -> str:
        """The name in files of the policy's parameter `name`."""
        return name

    def released_order(self) -> list[str]:
        """Names in files of all parameters of a released implementation, in its optimiser's order.

        Empty where the policy has no counterpart there.
        """
        return []

    def export(self) -> dict[str, Tensor]:
        """The weights under the names of files."""
        return dict(self.policy.state_dict())

    def load(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Replace all weights.

        Raises:
            WeightsError: a tensor is missing, unexpected or misshapen; nothing is changed.
        """
        state = unwrapped(state)
        require_finite(state)
        complaint = misfit(state, self.policy.state_dict())
        if complaint:
            raise WeightsError(f"the weights do not fit the policy: {complaint}")
        self.policy.load_state_dict(dict(state))
        return LoadReport(loaded=list(state))

    def load_earlier_stage(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Take the weights of the stage before; what only this stage has keeps its fresh values.

        Raises:
            WeightsError: as `load`.
        """
        return self.load(state)


class GroundTruth(Protocol):
    """Turns true keyframes into what a perfect network would predict."""

    identity: dict[str, Any]  # what it depends on, for people

    def actions(
        self, poses: np.ndarray, gripper_open: np.ndarray, ignore_collisions: np.ndarray
    ) -> np.ndarray:
        """Actions (K, 9) of K keyframes: poses (K, 7), gripper (K,) and collision flags (K,)."""
        ...


@dataclass(frozen=True)
class BuildOptions:
    """How a policy is built.

    Attributes:
        float16: training really runs under float16 autocast.
        pretrained: read the public weights that its configuration names.
    """

    float16: bool = False
    pretrained: bool = False


@dataclass(frozen=True)
class StartData:
    """What a policy may look at before the first update.

    Attributes:
        batches: (first number, count) -> training batches.
        language: (instructions, L, D) token features on the device.
        device: where the policy is.
        share: makes tensors equal in all processes, those of the main one.
    """

    batches: Callable[[int, int], Iterator[Batch]]
    language: Tensor
    device: torch.device
    share: Callable[[Iterator[Tensor]], None]


class AssumedConfigs(NamedTuple):
    """Which configurations belong to weights that come without any; paths as in `load_network`."""

    experiment: str
    network: str
    network_opts: str = ""


class Policy(nn.Module):
    """A policy: from observations and instructions to chunks of actions, trained by its loss.

    Subclasses have a `Config` (a frozen dataclass of network keys, legal by default, whose key
    `policy` is their name), `build`, `spec`, `term_names`, `loss` and `act`; the rest has defaults.
    """

    Config: ClassVar[type]
    # Patterns of keys of `Config` that may differ from those of a run that is continued, and those
    # that may also differ from the stage before.
    may_change: ClassVar[tuple[str, ...]] = ()
    may_change_between_stages: ClassVar[tuple[str, ...]] = ()

    # ------------------------------------------------------------------------------ building
    @classmethod
    def build(cls, config: Any, experiment: ExperimentConfig, options: BuildOptions) -> Policy:
        """A policy with fresh weights, drawn from torch's global generator.

        Args:
            config: a `Config`.
            experiment: of the run.
            options: see `BuildOptions`.

        Raises:
            ConfigError: the two configurations contradict each other, or name an absent file.
        """
        raise NotImplementedError

    @classmethod
    def check_stage(cls, stage: int, experiment: ExperimentConfig, config: Any) -> None:
        """Make sure that the configurations fit stage 1 (train) or 2; by default there is one.

        Raises:
            ConfigError: they do not, or there is no such stage.
        """
        if stage != 1:
            raise ConfigError(
                f"policy: {getattr(config, 'policy', cls.__name__)} has no second stage of "
                "training; use train.py"
            )

    @classmethod
    def recognises(cls, state: Mapping[str, Tensor]) -> bool:
        """Whether weights under these names, without wrappers, are of a release of this policy.

        Asked of files that name no policy; the first one that recognises a file reads it.
        """
        return False

    @classmethod
    def assumed_configs(cls, stage: int, state: Mapping[str, Tensor]) -> AssumedConfigs:
        """The configurations of weights that come without any, for example released ones.

        Raises:
            ConfigError: none can be assumed.
        """
        raise ConfigError(
            "the checkpoint tells no configuration, and none lies beside it; put exp_cfg.yaml and "
            "mvt_cfg.yaml of its run there"
        )

    @classmethod
    def check_available(
        cls, experiment: ExperimentConfig, config: Any, device: torch.device
    ) -> None:
        """Make sure that the packages and the device that the configurations ask for are there.

        Raises:
            ConfigError: they are not; the message tells what helps.
        """

    @classmethod
    def ground_truth(cls, experiment: ExperimentConfig, config: Any) -> GroundTruth | None:
        """How true keyframes come out of the policy's own decoding; None = it does not say."""
        return None

    @property
    def spec(self) -> PolicySpec:
        """What the policy wants and gives."""
        raise NotImplementedError

    @property
    def weight_adapter(self) -> WeightAdapter:
        """How its weights are named in files."""
        return WeightAdapter(self)

    # ------------------------------------------------------------------------------ training
    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the loss terms, in the order in which `loss` gives them."""
        raise NotImplementedError

    @property
    def sample_value_names(self) -> tuple[str, ...]:
        """Names of `LossOutput.per_sample`; none by default."""
        return ()

    @property
    def published_samples(self) -> int | None:
        """Samples per update of a published training; None: there is none."""
        return None

    @property
    def leaves_parameters_unused(self) -> bool:
        """Whether the loss may leave trainable parameters without a gradient."""
        return False

    def averages(self, name: str) -> bool:
        """Whether `peract.ema` keeps an average of the trained parameter `name`."""
        return True

    def sharded_parts(self) -> list[nn.Module]:
        """Modules whose weights `peract.sharding` gathers one module at a time."""
        return []

    def sample_noise(self, n: int, generator: torch.Generator) -> Noise:
        """The random numbers of the loss of `n` samples, on the generator's device."""
        return Seeds(torch.randint(2**31, (n,), generator=generator))

    def forward(self, batch: Batch, language: Tensor, noise: Noise) -> LossOutput:
        """`loss` (the form that distributed wrappers call)."""
        return self.loss(batch, language, noise)

    def loss(self, batch: Any, language: Tensor, noise: Any) -> LossOutput:
        """The loss of a batch; no backward, no optimiser.

        Args:
            batch: B samples on the policy's device, in the form that `spec` asks for.
            language: (B, L, D).
            noise: of these samples, from `sample_noise`, on the same device.
        """
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Trainable parameters for the optimiser; a group may scale the rate with `lr_scale`."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def on_start(self, data: StartData, *, fresh: bool) -> None:
        """Called once before the first update of a process, for checks and calibration.

        Args:
            data: what may be looked at.
            fresh: a new run begins; False = one is continued.

        Raises:
            ConfigError: the run cannot be what it is meant to be.
        """

    def check_weights(self) -> None:
        """Make sure that the loaded weights suit the configuration; called after loading.

        Raises:
            ConfigError: they do not.
        """

    def training_state(self) -> dict[str, Tensor]:
        """Tensors that a training needs to go on and that are no part of the weights in files."""
        return {}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take those of a checkpoint.

        Raises:
            WeightsError: they belong to another policy.
        """
        complaint = misfit(state, self.training_state())
        if complaint:
            raise WeightsError(f"the state of the training does not fit the policy: {complaint}")

    def parts(self) -> dict[str, nn.Module]:
        """Components whose parameters are counted for people, by name."""
        return {}

    def compile_network(self, mode: str) -> None:
        """torch.compile what takes the time; `mode` is one of COMPILE_MODES, "" does nothing."""
        if mode:
            self.compile(mode=mode)

    # -------------------------------------------------------------------------------- acting
    def initial_state(self, n: int) -> PolicyState:
        """That of `n` environments at the start of their episodes."""
        return NoState()

    def act(
        self, observation: Observation, language: Tensor, state: Any
    ) -> tuple[ActionChunk, PolicyState]:
        """The next actions of B environments, and what to remember of them.

        Args:
            observation: B environments on the policy's device.
            language: (B, L, D).
            state: of these environments, from `initial_state` or an earlier call.
        """
        raise NotImplementedError


def policy_class(config: PolicyConfig) -> type[Policy]:
    """The policy that a network config chooses by its key `policy`.

    Raises:
        ConfigError: there is none of that name.
    """
    found: type[Policy] = POLICIES.get(getattr(config, "policy", DEFAULT_POLICY))
    return found


def state_bytes(state: object) -> int:
    """Bytes of all tensors of a state."""
    if not dataclasses.is_dataclass(state):
        return 0
    values = (getattr(state, item.name) for item in dataclasses.fields(state))
    return sum(value.nbytes for value in values if isinstance(value, Tensor))
