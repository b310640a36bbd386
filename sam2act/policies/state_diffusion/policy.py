"""Numbers of the state -> a chunk of actions, by denoising it as a whole.

Legend: B samples or environments, T frames, P numbers of the state, H actions of a chunk, A numbers
of an action, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sam2act.config.component import ComponentConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.core.actions import ActionSpec, Component
from sam2act.core.errors import require, require_positive
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, LossOutput, Observation, WindowBatch
from sam2act.nn.diffusion.adaln_mlp import SimpleMLPAdaLN
from sam2act.nn.diffusion.learned_variance import LearnedVarianceDiffusion
from sam2act.nn.diffusion.schedules import cosine_betas
from sam2act.nn.linear import Linear
from sam2act.policies.base import BuildOptions, Part, Policy
from sam2act.policies.diffusion_chunks import DrawCount

STEPS = 1000
TERM = "action_loss"


@dataclass(frozen=True)
class StateDiffusionConfig(ComponentConfig):
    """The network (`--mvt_cfg_path`, `--mvt_cfg_opts`)."""

    policy: str = "state_diffusion"
    state: str = "state"  # part of the state that it sees
    state_size: int = 5
    angles: tuple[int, ...] = (4,)  # numbers of it that go round, scaled so that a turn is -1 to 1
    action_dim: int = 2
    action_rate: float = 10.0  # Hz
    chunk: int = 16
    n_action_steps: int = 8
    past: int = 1  # earlier frames that it sees
    width: int = 256
    depth: int = 4
    test_steps: int = 50
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "state_size", "action_dim", "chunk", "width", "depth", "test_steps")
        require(self.past >= 0, "past must be 0 or more")
        require(0 < self.n_action_steps <= self.chunk, "n_action_steps must be from 1 to chunk")
        require(self.action_rate > 0, "action_rate must be positive")
        require(
            all(0 <= place < self.state_size for place in self.angles),
            f"angles: numbers of the state are 0 to {self.state_size - 1}",
        )


@dataclass(frozen=True)
class ChunkNoise:
    """The random numbers of the loss of B samples."""

    step: Tensor  # (B,) int64
    noise: Tensor  # (B, H A)

    def select(self, part: Part) -> ChunkNoise:
        """Those of some samples."""
        return ChunkNoise(self.step[part], self.noise[part])

    def to(self, device: torch.device | str) -> ChunkNoise:
        """The same numbers on `device`."""
        return ChunkNoise(self.step.to(device), self.noise.to(device))


class StateDiffusionPolicy(Policy):
    """Two layers for the state, and a diffusion network over the numbers of a chunk."""

    Config = StateDiffusionConfig
    may_change = ("test_steps", "temperature", "n_action_steps")

    def __init__(self, config: StateDiffusionConfig, spec: PolicySpec) -> None:
        """With fresh weights."""
        super().__init__()
        self.config, self._spec = config, spec
        seen = (config.past + 1) * (config.state_size + len(config.angles))
        self.state = nn.Sequential(
            Linear(seen, config.width), nn.SiLU(), Linear(config.width, config.width)
        )
        numbers = config.chunk * config.action_dim
        self.net = SimpleMLPAdaLN(numbers, config.width, config.width, config.depth)
        self.process = LearnedVarianceDiffusion(cosine_betas(STEPS))

    @classmethod
    def build(
        cls, config: StateDiffusionConfig, experiment: ExperimentConfig, options: BuildOptions
    ) -> StateDiffusionPolicy:
        """A policy with fresh weights; pictures of the cameras are there but not looked at."""
        action = ActionSpec(
            "raw",
            (Component("action", config.action_dim, ""),),
            horizon=config.chunk,
            rate=config.action_rate,
        )
        spec = PolicySpec(
            camera_specs=square_cameras(experiment.cameras, 0, depth=False),
            language=None,
            state=(Component(config.state, config.state_size, ""),),
            action=action,
            offsets=tuple(range(-config.past, 1)),
            executor=f"open_loop({config.n_action_steps})",
        )
        return cls(config, spec)

    @property
    def spec(self) -> PolicySpec:
        """Numbers of the state in, chunks of actions out."""
        return self._spec

    @property
    def term_names(self) -> tuple[str, ...]:
        """The loss of the actions."""
        return (TERM,)

    def parts(self) -> dict[str, nn.Module]:
        """State and diffusion network."""
        return {"state": self.state, "diffusion": self.net}

    def sample_noise(self, n: int, generator: torch.Generator) -> ChunkNoise:
        """Steps and noises of `n` samples."""
        size = (n, self.config.chunk * self.config.action_dim)
        step = torch.randint(STEPS, (n,), generator=generator, device=generator.device)
        return ChunkNoise(step, torch.randn(size, generator=generator, device=generator.device))

    def loss(self, batch: WindowBatch, language: Tensor, noise: ChunkNoise) -> LossOutput:
        """Mean diffusion loss of the chunks."""
        condition = self._condition(batch.observed)
        found = self.process.loss(
            lambda value, step: self.net(value, step, condition),
            batch.action.flatten(1),
            noise.step,
            noise.noise,
        )
        total = found.total.mean()
        return LossOutput(total, {TERM: total.detach()})

    def initial_state(self, n: int) -> DrawCount:
        """No chunk drawn yet."""
        return DrawCount.none(n)

    @torch.no_grad()
    def act(
        self, observation: Observation, language: Tensor, state: DrawCount
    ) -> tuple[ActionChunk, DrawCount]:
        """A chunk for each of B environments; its noise depends on nothing but how many chunks the
        episode has had."""
        condition = self._condition(observation)
        generators = [torch.Generator().manual_seed(int(count)) for count in state.count]
        numbers = self.config.chunk * self.config.action_dim

        def draw() -> Tensor:
            rows = [torch.randn(numbers, generator=generator) for generator in generators]
            return torch.stack(rows).to(condition)

        values = self.process.respaced(self.config.test_steps).sample(
            lambda value, step: self.net(value, step, condition),
            draw(),
            draw,
            temperature=self.config.temperature,
            clip=True,
        )
        chunk = values.unflatten(1, (self.config.chunk, self.config.action_dim))
        valid = torch.ones(chunk.shape[:2], dtype=torch.bool, device=chunk.device)
        return ActionChunk(chunk, valid, self._spec.action.mode), DrawCount(state.count + 1)

    def _condition(self, observation: Observation) -> Tensor:
        """(B, D)."""
        state = observation.proprioception  # (B, T, P), or (B, P) of one frame
        turns = math.pi * state[..., list(self.config.angles)]
        places = [n for n in range(self.config.state_size) if n not in self.config.angles]
        parts = [state[..., places], turns.sin(), turns.cos()]
        out: Tensor = self.state(torch.cat(parts, dim=-1).flatten(1))
        return out
