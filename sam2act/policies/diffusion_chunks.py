"""Chunks of actions by diffusion: what policies share whose head denoises them.

Legend: B samples or environments, R noises per sample, H actions of a chunk, A numbers of an
action, C width of the condition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.core.actions import EE_DELTA, EE_DELTA_RPY, EE_POSE, ActionSpec
from sam2act.core.errors import require, require_choice, require_positive
from sam2act.core.types import ActionChunk, WindowBatch
from sam2act.nn.diffusion.dit import DiT, DiTConfig
from sam2act.nn.diffusion.process import GaussianDiffusion
from sam2act.nn.diffusion.schedules import cosine_betas, strided_steps
from sam2act.policies.base import Part

NOISE_ERROR = "noise_error"  # name of the loss term
OPEN_FROM = 0.5  # predicted openings from here on are open
SAMPLERS = ("ddim", "ddpm")
CONTROLS = {spec.mode: spec for spec in (EE_DELTA, EE_POSE, EE_DELTA_RPY)}
SAMPLER_KEYS = ("sampler", "num_ddim_steps", "cfg_scale")  # nothing of training depends on them


@dataclass(frozen=True)
class ChunkDiffusionConfig(DiTConfig):
    """The head, how it is trained and how chunks are drawn from it; published values of CogACT."""

    control: str = "ee_delta"  # ee_delta | ee_pose | ee_delta_rpy (of recorded data only)
    diffusion_steps: int = 100
    repeated_diffusion_steps: int = 4  # noises per sample, so that the backbone's work is shared
    condition_dropout: float = 0.1
    mask_padding: bool = False  # leave out actions beyond the end of an episode
    sampler: str = "ddpm"  # ddpm | ddim
    num_ddim_steps: int = 10
    cfg_scale: float = 1.5  # guidance; up to 1 there is none

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("control", self.control, tuple(CONTROLS))
        require_choice("sampler", self.sampler, SAMPLERS)
        require_positive(self, "diffusion_steps", "repeated_diffusion_steps", "num_ddim_steps")
        require(0 <= self.condition_dropout < 1, "condition_dropout must be from 0 to below 1")


@dataclass(frozen=True)
class DiffusionNoise:
    """The random numbers of the loss of B samples."""

    step: Tensor  # (B, R) int64
    noise: Tensor  # (B, R, H, A)
    dropped: Tensor  # (B,) bool: where the condition is left out

    def select(self, part: Part) -> DiffusionNoise:
        """Those of some samples."""
        return DiffusionNoise(self.step[part], self.noise[part], self.dropped[part])

    def to(self, device: torch.device | str) -> DiffusionNoise:
        """The same numbers on `device`."""
        return DiffusionNoise(self.step.to(device), self.noise.to(device), self.dropped.to(device))


@dataclass(frozen=True)
class DrawCount:
    """How many chunks each environment has drawn in its episode: what the next draw depends on."""

    count: Tensor  # (B,) int64, on the CPU, where numbers are drawn

    @classmethod
    def none(cls, n: int) -> DrawCount:
        """No chunk drawn yet in `n` environments."""
        return cls(torch.zeros(n, dtype=torch.int64))

    def select(self, rows: Tensor) -> DrawCount:
        """That of the environments `rows`."""
        return DrawCount(self.count[rows.cpu()])

    def put(self, rows: Tensor, other: DrawCount) -> DrawCount:
        """With `rows` replaced by the environments of `other`."""
        count = self.count.clone()
        count[rows.cpu()] = other.count
        return DrawCount(count)

    def reset(self, rows: Tensor) -> DrawCount:
        """With `rows` at the start of an episode."""
        return self.put(rows, DrawCount.none(len(rows)))


class ChunkDiffusion:
    """The loss of a head, and the chunks that are drawn from it."""

    def __init__(self, config: ChunkDiffusionConfig) -> None:
        """The process of a configuration.

        Raises:
            ConfigError: the sampler cannot take so many steps.
        """
        self.config = config
        with torch.device("cpu"):  # also where parameters are built on the device `meta`
            self.process = GaussianDiffusion(cosine_betas(config.diffusion_steps))
        if config.sampler == "ddim":
            strided_steps(config.diffusion_steps, config.num_ddim_steps)

    def sample_noise(self, n: int, generator: torch.Generator) -> DiffusionNoise:
        """Steps, noises and where the condition is left out, of `n` samples."""
        config = self.config
        repeats, device = config.repeated_diffusion_steps, generator.device
        shape = (n, repeats, config.chunk, config.action_dim)
        steps = torch.randint(
            config.diffusion_steps, (n, repeats), generator=generator, device=device
        )
        noise = torch.randn(shape, generator=generator, device=device)
        chance = torch.rand(n, generator=generator, device=device)
        return DiffusionNoise(steps, noise, chance < config.condition_dropout)

    def error(
        self, head: DiT, condition: Tensor, batch: WindowBatch, noise: DiffusionNoise
    ) -> Tensor:
        """Mean squared error of the predicted noise, over all actions or the valid ones
        (`mask_padding`), for conditions (B, 1, C)."""
        repeats = noise.step.shape[1]
        clean, wanted, step = (
            value.flatten(0, 1)
            for value in (
                batch.action[:, None].expand_as(noise.noise),
                noise.noise,
                noise.step,
            )
        )
        noisy = self.process.add_noise(clean, step, wanted)
        dropped = noise.dropped.repeat_interleave(repeats)
        predicted = head(noisy, step, condition.repeat_interleave(repeats, dim=0), dropped)
        error = (predicted - wanted).square().mean(-1)  # (B * R, H)
        if self.config.mask_padding:
            error = error[batch.valid.repeat_interleave(repeats, dim=0)]
        mean: Tensor = error.mean()
        return mean

    @torch.no_grad()
    def draw(
        self, head: DiT, condition: Tensor, state: DrawCount, action: ActionSpec
    ) -> tuple[ActionChunk, DrawCount]:
        """A chunk for each of B environments, denoised from numbers that depend on nothing but how
        many chunks the episode has had.

        Args:
            head: predicts the noise.
            condition: (B, 1, C).
            state: of the B environments.
            action: what the numbers of an action are.
        """
        config = self.config
        predict = head.predictor(condition, config.cfg_scale)
        generators = [torch.Generator().manual_seed(int(count)) for count in state.count]

        def draw() -> Tensor:
            shape = (config.chunk, config.action_dim)
            rows = [torch.randn(shape, generator=generator) for generator in generators]
            return torch.stack(rows).to(condition)

        if config.sampler == "ddim":
            values = self.process.sample_ddim(predict, draw(), config.num_ddim_steps)
        else:
            values = self.process.sample(predict, draw(), lambda step: draw())
        opening = action.slice_of("gripper")
        values[..., opening] = (values[..., opening] >= OPEN_FROM).to(values)
        valid = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        return ActionChunk(values, valid, action.mode), DrawCount(state.count + 1)
