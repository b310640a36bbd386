"""CogACT: images and an instruction -> a chunk of actions, by denoising them.

Legend: B samples or environments, R noises per sample, H actions of a chunk, A numbers of
an action.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.actions import EE_DELTA, EE_POSE
from sam2act.core.errors import ConfigError
from sam2act.core.specs import GRIPPER_OPEN, GRIPPER_POSE, LanguageSpec, PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, LossOutput, Observation, WindowBatch
from sam2act.nn.diffusion.dit import DiT
from sam2act.nn.diffusion.process import GaussianDiffusion
from sam2act.nn.diffusion.schedules import cosine_betas, strided_steps
from sam2act.policies.base import BuildOptions, Part, Policy
from sam2act.policies.cogact.backbone import TinyBackbone
from sam2act.policies.cogact.config import SMALL, CogACTConfig
from sam2act.policies.cogact.small_backbone import SmallBackbone

OPEN_FROM = 0.5  # predicted openings from here on are open
_CONTROLS = {spec.mode: spec for spec in (EE_DELTA, EE_POSE)}


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
        return self.put(rows, DrawCount(torch.zeros(len(rows), dtype=torch.int64)))


class CogACTPolicy(Policy):
    """A backbone and a diffusion head, trained together by the error of the predicted noise."""

    Config = CogACTConfig
    may_change = ("sampler", "num_ddim_steps", "cfg_scale")

    def __init__(self, config: CogACTConfig, spec: PolicySpec, *, pretrained: bool = False) -> None:
        """With fresh weights; of the small backbone, the image encoder may have pretrained ones.

        Raises:
            ConfigError: the sampler cannot take so many steps, or pretrained weights are absent.
        """
        super().__init__()
        self.config, self._spec = config, spec
        self.backbone: nn.Module
        if config.backbone == SMALL:
            self.backbone = _small_backbone(config, spec, pretrained)
        else:
            self.backbone = TinyBackbone(config, spec)
        self.action_model = DiT(config)
        self.diffusion = GaussianDiffusion(cosine_betas(config.diffusion_steps))
        if config.sampler == "ddim":
            strided_steps(config.diffusion_steps, config.num_ddim_steps)

    @classmethod
    def build(
        cls, config: CogACTConfig, experiment: ExperimentConfig, options: BuildOptions
    ) -> CogACTPolicy:
        """A policy with fresh weights.

        Raises:
            ConfigError: `action_dim` is not that of the control mode.
        """
        control = _CONTROLS[config.control]
        if config.action_dim != control.size:
            raise ConfigError(
                f"action_dim: {config.action_dim}, but actions of control {config.control} have "
                f"{control.size} numbers ({control.describe()})"
            )
        spec = PolicySpec(
            camera_specs=square_cameras(experiment.cameras, config.image_side, depth=False),
            language=LanguageSpec(experiment.language.encoder, config.lang_len, config.lang_dim),
            state=(GRIPPER_POSE, GRIPPER_OPEN),
            action=dataclasses.replace(control, horizon=config.chunk),
        )
        return cls(config, spec, pretrained=options.pretrained)

    @property
    def spec(self) -> PolicySpec:
        """Colour images in, chunks of actions at frame rate out."""
        return self._spec

    @property
    def term_names(self) -> tuple[str, ...]:
        """The error of the predicted noise."""
        return ("noise_error",)

    def parts(self) -> dict[str, nn.Module]:
        """Backbone and head."""
        return {"backbone": self.backbone, "action head": self.action_model}

    def sample_noise(self, n: int, generator: torch.Generator) -> DiffusionNoise:
        """Steps, noises and where the condition is left out."""
        config = self.config
        repeats, device = config.repeated_diffusion_steps, generator.device
        shape = (n, repeats, config.chunk, config.action_dim)
        steps = torch.randint(
            config.diffusion_steps, (n, repeats), generator=generator, device=device
        )
        noise = torch.randn(shape, generator=generator, device=device)
        chance = torch.rand(n, generator=generator, device=device)
        return DiffusionNoise(steps, noise, chance < config.condition_dropout)

    def loss(self, batch: WindowBatch, language: Tensor, noise: DiffusionNoise) -> LossOutput:
        """Mean squared error of the noise, over all actions or the valid ones (`mask_padding`)."""
        condition = self._condition(batch.observed, language)
        repeats = noise.step.shape[1]
        clean, wanted, step = (
            value.flatten(0, 1)
            for value in (
                batch.action[:, None].expand_as(noise.noise),
                noise.noise,
                noise.step,
            )
        )
        noisy = self.diffusion.add_noise(clean, step, wanted)
        dropped = noise.dropped.repeat_interleave(repeats)
        predicted = self.action_model(
            noisy, step, condition.repeat_interleave(repeats, dim=0), dropped
        )
        error = (predicted - wanted).square().mean(-1)  # (B * R, H)
        if self.config.mask_padding:
            error = error[batch.valid.repeat_interleave(repeats, dim=0)]
        total = error.mean()
        return LossOutput(total, {"noise_error": total.detach()})

    def initial_state(self, n: int) -> DrawCount:
        """No chunk drawn yet."""
        return DrawCount(torch.zeros(n, dtype=torch.int64))

    @torch.no_grad()
    def act(
        self, observation: Observation, language: Tensor, state: DrawCount
    ) -> tuple[ActionChunk, DrawCount]:
        """A chunk for each of B environments, denoised from numbers that depend on nothing but how
        many chunks the episode has had."""
        condition = self._condition(observation, language)
        predict = self.action_model.predictor(condition, self.config.cfg_scale)
        generators = [torch.Generator().manual_seed(int(count)) for count in state.count]

        def draw() -> Tensor:
            shape = (self.config.chunk, self.config.action_dim)
            rows = [torch.randn(shape, generator=generator) for generator in generators]
            return torch.stack(rows).to(condition)

        if self.config.sampler == "ddim":
            values = self.diffusion.sample_ddim(predict, draw(), self.config.num_ddim_steps)
        else:
            values = self.diffusion.sample(predict, draw(), lambda step: draw())
        opening = self._spec.action.slice_of("gripper")
        values[..., opening] = (values[..., opening] >= OPEN_FROM).to(values)
        valid = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        chunk = ActionChunk(values, valid, self._spec.action.mode)
        return chunk, DrawCount(state.count + 1)

    def _condition(self, observation: Observation, language: Tensor) -> Tensor:
        """(B, 1, C)."""
        feature: Tensor = self.backbone(observation.rgb, observation.proprioception, language)
        return feature


def _small_backbone(config: CogACTConfig, spec: PolicySpec, pretrained: bool) -> SmallBackbone:
    return SmallBackbone(
        config,
        spec,
        width=config.backbone_width,
        condition_dim=config.condition_dim,
        sees_state=config.sees_state,
        pretrained=pretrained,
    )
