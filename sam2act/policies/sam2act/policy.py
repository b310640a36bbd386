"""The SAM2Act policy: observation -> next keyframe pose, batch -> loss.

Legend: B batch, V view, M = B * V, S side of a rendered view, P tokens per side, W consecutive
keyframes of a training window (num_maskmem + 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from sam2act.config.experiment import GRAPH_MODES, ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk, KeyframeBatch, LossOutput, Observation
from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.nn.lora import adapters
from sam2act.policies.base import AssumedConfigs, BuildOptions, NoState, Policy, StartData
from sam2act.policies.multiview.losses import (
    ACTION_TERMS,
    EXCESS,
    HEATMAP_TERM,
    action_losses,
    excess_loss,
    heatmap_cross_entropy,
)
from sam2act.policies.multiview.preprocessing import world_cloud
from sam2act.policies.multiview.quantisation_bound import QuantisedDecoder
from sam2act.policies.multiview.targets import TrainingNoise, position_heatmaps
from sam2act.policies.multiview.two_stage import Cloud, TeacherForcing, TwoStageOutput
from sam2act.policies.sam2act import stages
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.sam2act.feature_cache import FeatureCache
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.network import SAM2ActNetwork
from sam2act.policies.sam2act.prediction import Prediction, decoded
from sam2act.policies.sam2act.published_weights import unused_tensors
from sam2act.policies.sam2act.samples import Targets, placed, prepared
from sam2act.policies.sam2act.settings import (
    PolicySettings,
    check_compatible,
    policy_spec,
)
from sam2act.policies.sam2act.weight_adapter import ReleasedWeights

CALIBRATION_BATCHES = 2  # of training data, for a fresh memory
State = MemoryBank | NoState


class SAM2ActPolicy(Policy):
    """Joins preprocessing, the two-stage network, targets and losses.

    With a memory in its network it is SAM2Act+: it trains the coarse heat maps on windows of
    keyframes (paper section IV-C), and remembers the past of every environment.
    """

    Config = NetworkConfig
    may_change: ClassVar[tuple[str, ...]] = stages.MAY_CHANGE
    may_change_between_stages: ClassVar[tuple[str, ...]] = stages.MAY_CHANGE_IN_STAGE_TWO

    def __init__(self, network: SAM2ActNetwork, settings: PolicySettings, spec: PolicySpec) -> None:
        """Join a network and settings; `build` makes both from configurations.

        Raises:
            ConfigError: features are to be cached although they change during training.
        """
        super().__init__()
        self.network = network
        self.settings = settings
        self._spec = spec
        self._uses_graphs = False
        self._weight_adapter = ReleasedWeights(self, unused_tensors(network.config))
        caches = settings.cache_features and network.memory is not None
        self._cache = FeatureCache(network.encoders, settings.window) if caches else None
        for adapter in adapters(network.encoders):
            adapter.dead = settings.skip_dead_lora

    # ------------------------------------------------------------------------------- building
    @classmethod
    def build(
        cls, config: NetworkConfig, experiment: ExperimentConfig, options: BuildOptions
    ) -> SAM2ActPolicy:
        """A policy with fresh weights, or with the public ones of its image encoder.

        Raises:
            ConfigError: the two configurations contradict each other, or name an absent file.
        """
        check_compatible(experiment, config)
        settings = PolicySettings.from_configs(experiment, config, float16=options.float16)
        network = SAM2ActNetwork(config, pretrained=options.pretrained)
        return cls(network, settings, policy_spec(experiment, config))

    @classmethod
    def check_stage(cls, stage: int, experiment: ExperimentConfig, config: NetworkConfig) -> None:
        """Stage 1 trains without memory, stage 2 the memory.

        Raises:
            ConfigError: a key belongs to the other stage.
        """
        stages.check_stage(stage, experiment, config)

    @classmethod
    def check_available(
        cls, experiment: ExperimentConfig, config: NetworkConfig, device: torch.device
    ) -> None:
        """Make sure that the packages and the device that options need are there.

        Raises:
            ConfigError: they are not.
        """
        stages.check_available(experiment, config, device)

    @classmethod
    def assumed_configs(cls, stage: int, state: Mapping[str, Tensor]) -> AssumedConfigs:
        """The published ones, with as many remembered keyframes as `state` has room for."""
        return stages.assumed_configs(stage, state)

    @classmethod
    def ground_truth(cls, experiment: ExperimentConfig, config: NetworkConfig) -> QuantisedDecoder:
        """How true keyframes come out of the policy's grids and bins."""
        return QuantisedDecoder(experiment, config)

    @property
    def spec(self) -> PolicySpec:
        """Colour and depth of the cameras in, keyframe poses out."""
        return self._spec

    @property
    def weight_adapter(self) -> ReleasedWeights:
        """The released names, and the unused tensors that files carry along."""
        return self._weight_adapter

    @property
    def remembers(self) -> bool:
        """Whether it is SAM2Act+."""
        return self.network.memory is not None

    def parts(self) -> dict[str, nn.Module]:
        """Image encoder, both branches and the memory, where there is one."""
        network = self.network
        parts = {
            "image encoder": network.encoders,
            "coarse branch": network.coarse,
            "fine branch": network.fine,
        }
        return parts | ({"memory": network.memory} if network.memory is not None else {})

    # ------------------------------------------------------------------------------- training
    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the loss terms, in the order in which `loss` gives them."""
        trains_actions = self.settings.action_losses and not self.remembers
        return (HEATMAP_TERM, *(ACTION_TERMS if trains_actions else ()))

    @property
    def sample_value_names(self) -> tuple[str, ...]:
        """The excess loss of the coarse heat maps."""
        return (EXCESS,)

    @property
    def published_samples(self) -> int:
        """Samples per update of the published training of this stage."""
        return stages.published_samples(self.network.config)

    @property
    def leaves_parameters_unused(self) -> bool:
        """Without the action losses the head gets no gradient."""
        return not self.settings.action_losses

    def sample_noise(self, n: int, generator: torch.Generator) -> TrainingNoise:
        """The random numbers of the loss of `n` samples."""
        return TrainingNoise.sample(n, generator)

    def loss(self, batch: KeyframeBatch, language: Tensor, noise: TrainingNoise) -> LossOutput:
        """Losses of a batch; no backward, no optimiser.

        Args:
            batch: B samples on the network's device; with memory, every run of W in temporal order.
            language: (B, L, lang_dim).
            noise: the random numbers of these samples, on the same device.

        Returns:
            total, terms named as the published code logs them, and the excess of the coarse branch
            per sample. With memory, only the coarse heat maps count.

        Raises:
            ConfigError: the batch is not a whole number of windows.
        """
        self.begin_call()
        if self.remembers:
            return self._window_loss(batch, language, noise)
        return self._keyframe_loss(batch, language, noise)

    def _keyframe_loss(
        self, batch: KeyframeBatch, language: Tensor, noise: TrainingNoise
    ) -> LossOutput:
        cloud, targets = self.prepare(batch, noise)
        jittered = (targets.bins[:, :2] + noise.bin_jitter) % self.settings.bins
        teacher = TeacherForcing(
            waypoint=targets.waypoint,
            zoom_noise=noise.zoom,
            teacher_bins=jittered,
            image_noise=self.settings.image_noise if self.training else 0.0,
            half_projection=self.settings.half_projection,
        )
        output = self.network(cloud, batch.proprioception, language, teacher)
        heatmap_loss, excess = self._heatmap_loss(output, targets.waypoint)
        terms = {HEATMAP_TERM: heatmap_loss}
        if self.settings.action_losses:
            assert output.fine.action is not None
            terms |= action_losses(
                output.fine.action, targets.bins, batch.gripper_open, batch.ignore_collisions
            )
        total = torch.stack(list(terms.values())).sum()
        if self.settings.skip_dead_lora:
            total = total + stages.nothing_of_adapters(self.network.encoders)
        logged = {name: value.detach() for name, value in terms.items()}
        return LossOutput(total, logged, {EXCESS: excess})

    def _window_loss(
        self, batch: KeyframeBatch, language: Tensor, noise: TrainingNoise
    ) -> LossOutput:
        """Mean coarse heat-map loss over all frames of the windows."""
        heatmaps, waypoint = self._window_heatmaps(batch, language, noise)
        target = self.heatmaps(waypoint)
        cross_entropy = heatmap_cross_entropy(heatmaps, target)
        total = cross_entropy.mean()
        excess = excess_loss(cross_entropy, target)
        return LossOutput(total, {HEATMAP_TERM: total.detach()}, {EXCESS: excess})

    def _window_heatmaps(
        self, batch: KeyframeBatch, language: Tensor, noise: TrainingNoise
    ) -> tuple[Tensor, Tensor]:
        """Predicted maps (B, V, S, S) and true positions (B, 3) in the cube."""
        if self._cache is None:
            cloud, targets = self.prepare(batch, noise)
            images = self.network.render(cloud, self.settings.image_noise if self.training else 0.0)
            maps = self.network.window_heatmaps(images, batch.proprioception, language)
            return maps, targets.waypoint
        tokens, pyramid, waypoint = self._cache.get(self.frozen_features, batch, language)
        return self.network.window_heatmaps_of_tokens(tokens, pyramid), waypoint

    @torch.no_grad()
    def frozen_features(
        self, batch: KeyframeBatch, language: Tensor
    ) -> tuple[Tensor, FeaturePyramid, Tensor]:
        """Coarse tokens (M, C, P, P), image features and true cube positions (B, 3).

        Without augmentation, with a fixed subset of points and without dropout, so that they are
        the same whenever they are computed.
        """
        was_training = self.training
        self.eval()
        try:
            noise = TrainingNoise.sample(len(batch), torch.Generator().manual_seed(0))
            seeds = torch.zeros_like(noise.subset_seed)
            cloud, targets = self.prepare(batch, noise.with_subset_seed(seeds).to(batch.rgb.device))
            images = self.network.render(cloud)
            tokens, pyramid = self.network.coarse_tokens(images, batch.proprioception, language)
        finally:
            self.train(was_training)
        return tokens, pyramid, targets.waypoint

    def on_start(self, data: StartData, *, fresh: bool) -> None:
        """Fit a fresh memory of `memory_init: local` to the tokens of stage 1; check the adapters.

        Raises:
            ConfigError: see `check_weights`.
        """
        config, memory = self.network.config, self.network.memory
        stages.tell_substitutes(config)
        if fresh and memory is not None and config.memory_init == "local":
            tokens = []
            for batch in data.batches(0, CALIBRATION_BATCHES):
                batch = cast(KeyframeBatch, batch.to(data.device))
                tokens.append(self.frozen_features(batch, data.language[batch.instruction])[0])
            memory.calibrate(torch.cat(tokens))
            data.share(memory.attention.norm.parameters())
        self.check_weights()

    def check_weights(self) -> None:
        """Raise `ConfigError` if `peract.skip_dead_lora` would leave out adapters that act."""
        if self.settings.skip_dead_lora:
            stages.check_dead_lora(self.network.encoders)

    @torch.no_grad()
    def prepare(self, batch: KeyframeBatch, noise: TrainingNoise) -> tuple[Cloud, Targets]:
        """Augment, crop and place a batch in the cube; targets move with it."""
        return prepared(batch, noise, self.settings, training=self.training)

    def _heatmap_loss(self, output: TwoStageOutput, waypoint: Tensor) -> tuple[Tensor, Tensor]:
        """Mean over the views of both branches, and the excess (B,) of the coarse branch."""
        in_zoom = self.network.to_zoom(waypoint, output.zoom_center)
        coarse, fine = self.heatmaps(waypoint), self.heatmaps(in_zoom)
        logits = torch.cat([output.coarse.heatmaps, output.fine.heatmaps], dim=1)
        cross_entropy = heatmap_cross_entropy(logits, torch.cat([coarse, fine], dim=1))
        return cross_entropy.mean(), excess_loss(cross_entropy[:, : coarse.shape[1]], coarse)

    @torch.no_grad()
    def heatmaps(self, position: Tensor) -> Tensor:
        """Target heat maps (B, V, S, S) of positions (B, 3) in the rendered cube."""
        with torch.autocast(position.device.type, enabled=False):
            return position_heatmaps(
                position,
                self.network.views,
                self.network.config.img_size,
                self.settings.heatmap_sigma,
                half_projection=self.settings.half_projection,
            )

    def compile_network(self, mode: str) -> None:
        """torch.compile the parts that take the time; `mode` is one of COMPILE_MODES.

        Compiled code may round otherwise. Rendering and arg-max have kernels of their own. With
        CUDA graphs, heat maps of a prediction are gone when the next one is made.
        """
        if not mode:
            return
        self._uses_graphs = mode in GRAPH_MODES
        network = self.network
        branches = (network.coarse, network.fine)
        upsamplers = [branch.upsampler for branch in branches]
        for part in (*network.encoders, *(b.transformer for b in branches), *upsamplers):
            part.compile(mode=mode)

    def begin_call(self) -> None:
        """Every loss and prediction begins here: graphs may write over what they returned before.

        Without it, each compiled part would do so as soon as the next part starts.
        """
        if self._uses_graphs:
            torch.compiler.cudagraph_mark_step_begin()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Trainable parameters: one group, as published (quirk N17).

        With memory and `peract.upsampler_lr_scale`, the coarse upsampler is a group of its own.

        Raises:
            ConfigError: `peract.upsampler_lr_scale` is for the second stage.
        """
        scale = self.settings.upsampler_scale
        if scale == 1:
            return super().parameter_groups()
        if not self.remembers:
            raise ConfigError("peract.upsampler_lr_scale is for train_plus.py; set it to 1")
        trained = {n: p for n, p in self.named_parameters() if p.requires_grad}
        upsampler = [p for n, p in trained.items() if n.startswith("network.coarse.upsampler.")]
        others = [p for n, p in trained.items() if not n.startswith("network.coarse.upsampler.")]
        return [{"params": others}, {"params": upsampler, "lr_scale": scale}]

    # --------------------------------------------------------------------------------- acting
    def initial_state(self, n: int) -> State:
        """Empty memories of `n` environments; nothing without memory."""
        return self.network.empty_bank(n) if self.remembers else NoState()

    def act(
        self, observation: Observation, language: Tensor, state: State
    ) -> tuple[ActionChunk, State]:
        """The next keyframe pose of every environment, world frame, and what to remember."""
        prediction, state = self.predict_step(observation, language, state)
        return prediction.action, state

    def predict(self, observation: Observation, language: Tensor) -> Prediction:
        """`predict_step` without any past: every environment at the start of its episode."""
        return self.predict_step(observation, language, self.initial_state(len(observation)))[0]

    @torch.no_grad()
    def predict_step(
        self, observation: Observation, language: Tensor, state: State
    ) -> tuple[Prediction, State]:
        """Action, heat maps and frames for a batch of observations, each with its past.

        Args:
            observation: B observations on the network's device.
            language: (B, L, lang_dim).
            state: memories of the B environments.

        Returns:
            the prediction, and the state with this keyframe added.
        """
        self.begin_call()
        was_training = self.training
        self.eval()
        try:
            cloud, frame = placed(world_cloud(observation), self.settings)
            inputs = cloud, observation.proprioception, language
            if isinstance(state, MemoryBank):
                output, state = self.network.step(*inputs, state)
            else:
                output = self.network(*inputs)
        finally:
            self.train(was_training)
        return Prediction(decoded(output, frame, cloud, self.settings), output, frame), state
