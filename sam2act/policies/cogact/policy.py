"""CogACT: images and an instruction -> a chunk of actions, by denoising them.

Legend: B samples or environments, C width of the condition.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.specs import GRIPPER_OPEN, GRIPPER_POSE, LanguageSpec, PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, LossOutput, Observation, WindowBatch
from sam2act.nn.diffusion.dit import DiT
from sam2act.policies.base import BuildOptions, Policy
from sam2act.policies.cogact.backbone import TinyBackbone
from sam2act.policies.cogact.config import PRISMATIC, SMALL, CogACTConfig
from sam2act.policies.cogact.prismatic_backbone import (
    PROMPT_ENCODER,
    PrismaticBackbone,
    build_backbone,
)
from sam2act.policies.cogact.small_backbone import SmallBackbone
from sam2act.policies.diffusion_chunks import (
    CONTROLS,
    NOISE_ERROR,
    SAMPLER_KEYS,
    ChunkDiffusion,
    DiffusionNoise,
    DrawCount,
)


class CogACTPolicy(Policy):
    """A backbone and a diffusion head, trained together by the error of the predicted noise."""

    Config = CogACTConfig
    may_change = (*SAMPLER_KEYS, "activation_checkpointing", "pretrained_checkpoint")

    def __init__(self, config: CogACTConfig, spec: PolicySpec, *, pretrained: bool = False) -> None:
        """With fresh weights; of the small backbone, the image encoder may have pretrained ones,
        the prismatic one those of `pretrained_checkpoint`.

        Raises:
            ConfigError: the sampler cannot take so many steps, a package is not installed, or the
                file is absent or does not fit.
        """
        super().__init__()
        self.config, self._spec = config, spec
        self.backbone: nn.Module
        if config.backbone == PRISMATIC:
            self.action_model = DiT(config)
            self.backbone = build_backbone(config, self.action_model, pretrained=pretrained)
        else:
            small = config.backbone == SMALL
            self.backbone = (
                _small_backbone(config, spec, pretrained) if small else TinyBackbone(config, spec)
            )
            self.action_model = DiT(config)
        self.chunks = ChunkDiffusion(config)

    @classmethod
    def build(
        cls, config: CogACTConfig, experiment: ExperimentConfig, options: BuildOptions
    ) -> CogACTPolicy:
        """A policy with fresh weights.

        Raises:
            ConfigError: `action_dim` is not that of the control mode, instructions are not encoded
                as the backbone reads them, or see the constructor.
        """
        control = CONTROLS[config.control]
        if config.action_dim != control.size:
            raise ConfigError(
                f"action_dim: {config.action_dim}, but actions of control {config.control} have "
                f"{control.size} numbers ({control.describe()})"
            )
        prismatic = config.backbone == PRISMATIC
        encoder = experiment.language.encoder
        if prismatic != (encoder == PROMPT_ENCODER):
            raise ConfigError(
                f"language.encoder: {encoder} does not go with backbone: {config.backbone}; "
                f"{PROMPT_ENCODER} is for backbone {PRISMATIC} and for no other"
            )
        spec = PolicySpec(
            camera_specs=square_cameras(experiment.cameras, config.image_side, depth=False),
            language=LanguageSpec(encoder, config.lang_len, config.lang_dim),
            state=(GRIPPER_POSE, GRIPPER_OPEN) if config.sees_state else (),
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
        return (NOISE_ERROR,)

    def parts(self) -> dict[str, nn.Module]:
        """Backbone and head."""
        return {"backbone": self.backbone, "action head": self.action_model}

    @property
    def leaves_parameters_unused(self) -> bool:
        """The head's history embedder is never used, nor are parts of the vision-language model."""
        return True

    def averages(self, name: str) -> bool:
        """Of the vision-language model no average is kept, as published."""
        return self.config.backbone != PRISMATIC or name.startswith("action_model.")

    def sharded_parts(self) -> list[nn.Module]:
        """Blocks of the three networks of the backbone, and of the head."""
        blocks = list(self.action_model.blocks)
        backbone = self.backbone
        return [*backbone.sharded(), *blocks] if isinstance(backbone, PrismaticBackbone) else blocks

    def sample_noise(self, n: int, generator: torch.Generator) -> DiffusionNoise:
        """Steps, noises and where the condition is left out."""
        return self.chunks.sample_noise(n, generator)

    def loss(self, batch: WindowBatch, language: Tensor, noise: DiffusionNoise) -> LossOutput:
        """Mean squared error of the noise, over all actions or the valid ones (`mask_padding`)."""
        condition = self._condition(batch.observed, language)
        total = self.chunks.error(self.action_model, condition, batch, noise)
        return LossOutput(total, {NOISE_ERROR: total.detach()})

    def initial_state(self, n: int) -> DrawCount:
        """No chunk drawn yet."""
        return DrawCount.none(n)

    @torch.no_grad()
    def act(
        self, observation: Observation, language: Tensor, state: DrawCount
    ) -> tuple[ActionChunk, DrawCount]:
        """A chunk for each of B environments, denoised from numbers that depend on nothing but how
        many chunks the episode has had."""
        condition = self._condition(observation, language)
        return self.chunks.draw(self.action_model, condition, state, self._spec.action)

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
