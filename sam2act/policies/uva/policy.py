"""UVA: pictures of the last steps -> the next pictures and the next actions.

Legend: B samples or environments, F frames, H actions of a chunk, A numbers of an action, P numbers
of the state, N tokens of the future, D width, c channels and s side of latents.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import torch
from torch import Tensor, nn

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.actions import EE_DELTA, EE_POSE, EE_POSE_6D, ActionSpec, Component
from sam2act.core.errors import ConfigError, require
from sam2act.core.specs import LanguageSpec, PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, LossOutput, Observation, WindowBatch
from sam2act.policies.base import BuildOptions, Policy, StartData
from sam2act.policies.diffusion_chunks import DrawCount
from sam2act.policies.uva.autoencoder import (
    Autoencoder,
    KL16Autoencoder,
    SmallAutoencoder,
    colours_of,
    pictures_of,
)
from sam2act.policies.uva.config import (
    ACT,
    ACTIONS,
    FRAMES,
    HISTORY,
    TEXT_WIDTH,
    VIDEO,
    UVAConfig,
)
from sam2act.policies.uva.latent_cache import LatentCache, plain_moments
from sam2act.policies.uva.modes import ACTS, IMAGINES, visible
from sam2act.policies.uva.network import Clip, JointTransformer, tokens_of
from sam2act.policies.uva.noise import HISTORIES, SHOWN, UVANoise, draw, mask_of
from sam2act.policies.uva.pretrained import load_autoencoder, load_matching
from sam2act.policies.uva.sampling import sample_actions, sample_video

LOGGER = logging.getLogger(__name__)
STRIDE = HISTORY // FRAMES
FUTURE = tuple(STRIDE * (number + 1) for number in range(FRAMES))
SCALE_BATCHES = 4  # batches from which the spread of the latents is measured
_CONTROLS = {spec.mode: spec for spec in (EE_DELTA, EE_POSE, EE_POSE_6D)}


class UVAPolicy(Policy):
    """A frozen autoencoder, the joint transformer and its two heads."""

    Config = UVAConfig
    may_change = (
        *("vae_weights", "pretrained_model_path", "cache_latents", "n_action_steps"),
        *("temperature", "act_diff_testing_steps", "num_sampling_steps", "num_iter"),
    )

    def __init__(self, config: UVAConfig, spec: PolicySpec) -> None:
        """With fresh weights."""
        super().__init__()
        self.config, self._spec = config, spec
        self.model = JointTransformer(config)
        self.vae_model = _autoencoder(config)
        self.model.requires_grad_(config.trains == "model")
        self.vae_model.requires_grad_(config.trains == "vae")
        self._cache = LatentCache() if config.cache_latents else None
        self._latest: dict[str, Tensor] = {}

    @classmethod
    def build(
        cls, config: UVAConfig, experiment: ExperimentConfig, options: BuildOptions
    ) -> UVAPolicy:
        """A policy with fresh weights, or those that the configuration names.

        Raises:
            ConfigError: there is not exactly one camera, latents of changing pictures are to be
                kept, `action_dim` is not that of the control mode, or a file does not fit.
        """
        require(
            len(experiment.cameras) == 1,
            f"cameras: UVA takes one, got {', '.join(experiment.cameras)}",
        )
        changing = [text for text in experiment.transforms if text.startswith("augment_clip")]
        require(
            not (config.cache_latents and changing),
            "cache_latents: True needs pictures that stay as they are; leave out augment_clip",
        )
        policy = cls(config, _spec(config, experiment))
        if options.pretrained and config.vae_weights:
            load_autoencoder(policy, config.vae_weights)
        if options.pretrained and config.pretrained_model_path:
            report = load_matching(policy, config.pretrained_model_path)
            LOGGER.info("%s: %s", config.pretrained_model_path, report)
        return policy

    @property
    def spec(self) -> PolicySpec:
        """Pictures of one camera over time in, chunks of actions out."""
        return self._spec

    @property
    def term_names(self) -> tuple[str, ...]:
        """Losses of video and actions, of which a mode may have one alone: the log then holds the
        latest value of the other. Those of the autoencoder where it is trained."""
        if self.config.trains == "vae":
            return ("squared_error", "divergence")
        there = {
            "video_loss": True,
            "action_loss": self.config.predict_action,
            "state_loss": self.config.predict_proprioception,
        }
        return tuple(name for name, wanted in there.items() if wanted)

    def parts(self) -> dict[str, nn.Module]:
        """Autoencoder, transformer and heads."""
        heads = {"video head": self.model.diffloss, "action head": self.model.diffactloss}
        if self.config.predict_proprioception:
            heads["state head"] = self.model.diffproploss
        return {"autoencoder": self.vae_model, "transformer": self.model, **heads}

    def train(self, mode: bool = True) -> UVAPolicy:
        """As of any module; the frozen autoencoder stays in evaluation mode."""
        super().train(mode)
        if self.config.trains == "model":
            self.vae_model.eval()
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices, and what has one axis, which the published training does not decay."""
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = ([p for p in trained if p.dim() > 1], [p for p in trained if p.dim() <= 1])
        return [{"params": groups[0]}, {"params": groups[1], "weight_decay": 0.0}]

    def sample_noise(self, n: int, generator: torch.Generator) -> UVANoise:
        """Mode, mask, diffusion steps and noises of `n` samples."""
        return draw(self.config, n, generator)

    def on_start(self, data: StartData, *, fresh: bool) -> None:
        """Measure the spread of the latents, unless the autoencoder brings it along."""
        if self.config.trains == "vae" or float(self.vae_model.scale) > 0:
            return
        values = [self._moments(b.observed.rgb[:, :, 0]).mean for b in _windows(data)]
        self.vae_model.scale.copy_(1 / torch.cat(values).std().clamp(min=1e-6))
        data.share(iter([self.vae_model.scale]))
        LOGGER.info("latents are scaled by %.4f", float(self.vae_model.scale))

    # -------------------------------------------------------------------------------- losses
    def loss(self, batch: WindowBatch, language: Tensor, noise: UVANoise) -> LossOutput:
        """That of the mode drawn in training; of `video_model` and `policy_model` otherwise."""
        if self.config.trains == "vae":
            return self._autoencoder_loss(batch.observed.rgb[:, 0], noise)
        clip = self._clip(batch, language, noise)
        modes: tuple[str, ...] = (VIDEO, ACT) if self.config.predict_action else (VIDEO,)
        if self.training:
            choices = self.config.modes
            modes = (choices[min(int(noise.mode[0] * len(choices)), len(choices) - 1)],)
        found: dict[str, Tensor] = {}
        for mode in modes:
            latents = self.model(visible(clip, mode))
            if mode in IMAGINES and not (mode == VIDEO and "video_loss" in found):
                found["video_loss"] = self._video_loss(latents, clip, noise)
            if mode in ACTS and self.config.predict_action:
                found["action_loss"] = self._action_loss(latents, batch.action, noise)
            if self.config.predict_proprioception:
                found["state_loss"] = self._state_loss(latents, batch.observed, noise)
        total = torch.stack(list(found.values())).sum() + self._untouched()
        self._latest |= {name: value.detach() for name, value in found.items()}
        nothing = torch.zeros_like(total.detach())
        terms = {name: self._latest.get(name, nothing) for name in self.term_names}
        return LossOutput(total, terms)

    def _video_loss(self, latents: Tensor, clip: Clip, noise: UVANoise) -> Tensor:
        """Mean over the hidden tokens."""
        assert clip.future is not None and clip.mask is not None
        places = clip.mask.flatten().nonzero()[:, 0]
        parts = (latents, clip.future, noise.video_step, noise.video)
        rows = [part.flatten(0, 1)[places] for part in parts]
        return self.model.diffloss.loss(*rows).total.mean()

    def _action_loss(self, latents: Tensor, actions: Tensor, noise: UVANoise) -> Tensor:
        """Mean over all actions."""
        head = self.model.diffactloss
        parts = (head.condition(latents), actions, noise.action_step, noise.action)
        return head.loss(*(part.flatten(0, 1) for part in parts)).total.mean()

    def _state_loss(self, latents: Tensor, observed: Observation, noise: UVANoise) -> Tensor:
        """Mean over the frames to come."""
        head, columns = self.model.diffproploss, self.config.predicted_columns
        states = observed.proprioception[:, -FRAMES:, columns]
        parts = (head.condition(latents), states, noise.state_step, noise.state)
        return head.loss(*(part.flatten(0, 1) for part in parts)).total.mean()

    def _untouched(self) -> Tensor:
        """Zero, with a gradient of zero for every parameter, as published: those that a mode does
        not use move on with their momentum and decay."""
        sums = [p.sum() for p in self.model.parameters() if p.requires_grad]
        return 0.0 * torch.stack(sums).sum()

    def _autoencoder_loss(self, rgb: Tensor, noise: UVANoise) -> LossOutput:
        """Squared error of pictures (B, H, W, 3), and the divergence of their latents."""
        pictures = pictures_of(rgb, self.config.image_side)
        moments = self.vae_model.moments(pictures)
        shown = self.vae_model.decode(moments.sample(noise.posterior[:, 0]))
        error = (shown - pictures).square().mean()
        divergence = moments.divergence().mean() / pictures[0].numel()
        terms = {"squared_error": error.detach(), "divergence": divergence.detach()}
        return LossOutput(error + self.config.kl_weight * divergence, terms)

    # -------------------------------------------------------------------------------- inputs
    def _clip(self, batch: WindowBatch, language: Tensor, noise: UVANoise) -> Clip:
        """What the transformer may see of windows, of which a mode shows a part."""
        rgb, state = batch.observed.rgb[:, :, 0], batch.observed.proprioception[:, :-FRAMES]
        rgb = torch.cat([self._history(rgb[:, :-FRAMES], noise), rgb[:, -FRAMES:]], dim=1)
        tokens = self._tokens(rgb, noise.posterior)
        history, future = tokens.chunk(2, dim=1)
        with_text = self.config.use_language
        dropped = noise.text < self.config.label_drop_prob if self.training else None
        return Clip(
            history=history,
            future=future,
            mask=mask_of(noise),
            actions=batch.action,
            text=language[:, 0] if with_text else None,
            text_dropped=dropped if with_text else None,
            state=self._history(state, noise),
        )

    def _history(self, values: Tensor, noise: UVANoise | None = None) -> Tensor:
        """(B, 4, ...): what belongs to the frames of the history that are shown."""
        if not self.config.different_history_freq:
            return values
        if noise is None or not self.training:
            return values[:, list(SHOWN)]
        chosen = torch.tensor(HISTORIES, device=values.device)[noise.history]
        return values[torch.arange(len(values), device=values.device)[:, None], chosen]

    def _tokens(self, rgb: Tensor, noise: Tensor) -> Tensor:
        """Frames (B, F, H, W, 3) uint8 and noise (B, F, c, s, s) -> tokens (B, F S, C)."""
        moments = self._moments(rgb)
        latents = moments.sample(noise.flatten(0, 1)) * self.vae_model.scale
        return tokens_of(latents.unflatten(0, rgb.shape[:2]), self.config.patch_size)

    @torch.no_grad()
    def _moments(self, rgb: Tensor) -> Any:
        """Of frames (B, F, H, W, 3), by the frozen autoencoder."""
        flat, side = rgb.flatten(0, 1), self.config.image_side
        if self._cache is not None and self.training:
            return self._cache.moments(self.vae_model, flat, side)
        return plain_moments(self.vae_model, flat, side)

    # -------------------------------------------------------------------------------- acting
    def initial_state(self, n: int) -> DrawCount:
        """No chunk drawn yet."""
        return DrawCount.none(n)

    @torch.no_grad()
    def act(
        self, observation: Observation, language: Tensor, state: DrawCount
    ) -> tuple[ActionChunk, DrawCount]:
        """A chunk for each of B environments; its noise depends on nothing but how many chunks the
        episode has had."""
        generators = [torch.Generator().manual_seed(int(count)) for count in state.count]
        clip = self._seen(observation, language, generators)
        latents = self.model(visible(clip, ACT))
        head = self.model.diffactloss
        values = sample_actions(head, head.condition(latents), generators, self.config)
        valid = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        chunk = ActionChunk(values, valid, self._spec.action.mode)
        return chunk, DrawCount(state.count + 1)

    @torch.no_grad()
    def imagine(
        self,
        observation: Observation,
        language: Tensor,
        seeds: Tensor,
        actions: Tensor | None = None,
    ) -> Tensor:
        """The next 4 frames (B, 4, S, S, 3) uint8 of B observations, 4 steps apart.

        Args:
            observation: as of `act`.
            language: as of `act`.
            seeds: (B,) int64, of the noise.
            actions: (B, H, A) normalised ones that will be taken (forward dynamics); None = any.
        """
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        clip = self._seen(observation, language, generators)
        clip = dataclasses.replace(clip, actions=actions)
        return sample_video(self.model, self.vae_model, clip, generators, self.config)

    def reconstruct(self, rgb: Tensor) -> Tensor:
        """Pictures (M, H, W, 3) uint8 through the autoencoder and back, (M, S, S, 3) uint8."""
        pictures = pictures_of(rgb, self.config.image_side)
        return colours_of(self.vae_model.decode(self.vae_model.moments(pictures).mean))

    def _seen(
        self, observation: Observation, language: Tensor, generators: list[torch.Generator]
    ) -> Clip:
        """What the transformer sees of observations."""
        rgb = self._history(observation.rgb[:, :, 0])
        config = self.config
        shape = (rgb.shape[1], config.vae_embed_dim, config.latent_side, config.latent_side)
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(rgb.device)
        text = language[:, 0] if config.use_language else None
        state = self._history(observation.proprioception)
        return Clip(history=self._tokens(rgb, noise), text=text, state=state)


def _autoencoder(config: UVAConfig) -> Autoencoder:
    if config.vae == "kl16":
        return KL16Autoencoder()
    return SmallAutoencoder(config.vae_embed_dim, config.image_side // config.latent_side)


def _spec(config: UVAConfig, experiment: ExperimentConfig) -> PolicySpec:
    control = _CONTROLS.get(config.control)
    if control is None:
        parts = (Component("action", config.action_dim, ""),)
        control = ActionSpec(config.control, parts)
    if control.rate is None:
        control = dataclasses.replace(control, rate=config.action_rate)
    if config.action_dim != control.size:
        raise ConfigError(
            f"action_dim: {config.action_dim}, but actions of control {config.control} have "
            f"{control.size} numbers ({control.describe()})"
        )
    first = 0 if config.shift_action else 1
    steps = range(HISTORY) if config.different_history_freq else SHOWN
    history = tuple(step - HISTORY + 1 for step in steps)
    language = LanguageSpec(experiment.language.encoder, 1, TEXT_WIDTH)
    offsets = (*history, *FUTURE)
    margins = (HISTORY - 1 - config.pad_before, HISTORY - config.pad_after)
    if config.trains == "vae":  # single pictures, each of every episode
        offsets, margins = (0,), (0, 0)
    return PolicySpec(
        camera_specs=square_cameras(experiment.cameras, 0, depth=False),
        language=language if config.use_language else None,
        state=tuple(Component(name, size, "") for name, size in config.state.items()),
        action=dataclasses.replace(control, horizon=ACTIONS),
        offsets=offsets,
        first_action=first,
        margins=margins,
        executor=f"open_loop({config.n_action_steps})",
    )


def _windows(data: StartData) -> list[WindowBatch]:
    batches = [batch.to(data.device) for batch in data.batches(0, SCALE_BATCHES)]
    return [batch for batch in batches if isinstance(batch, WindowBatch)]
