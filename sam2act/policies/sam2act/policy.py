"""The SAM2Act policy: observation -> next keyframe pose, batch -> loss.

Legend: B batch, V view, M = B * V, S side of a rendered view, P tokens per side, W consecutive
keyframes of a training window (num_maskmem + 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import require
from sam2act.core.specs import PolicySpec
from sam2act.core.types import KeyframeBatch, KeyframePreviewBatch, LossOutput
from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.policies.base import AssumedConfigs, BuildOptions, NoState, StartData
from sam2act.policies.multiview.losses import (
    EXCESS,
    HEATMAP_TERM,
    excess_loss,
    heatmap_cross_entropy,
)
from sam2act.policies.multiview.network import Cloud
from sam2act.policies.multiview.policy import MultiviewPolicy
from sam2act.policies.multiview.quantisation_bound import QuantisedDecoder
from sam2act.policies.multiview.samples import placed_after
from sam2act.policies.multiview.settings import PolicySettings
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.multiview.two_stage import TwoStageOutput
from sam2act.policies.sam2act import stages
from sam2act.policies.sam2act.auxiliary import (
    TERM,
    AuxiliaryNoise,
    NextKeyframe,
    image_tokens,
)
from sam2act.policies.sam2act.chunk_policy import SAM2ActChunkPolicy
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.sam2act.feature_cache import FeatureCache
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.network import SAM2ActNetwork
from sam2act.policies.sam2act.published_weights import unused_tensors
from sam2act.policies.sam2act.settings import policy_spec
from sam2act.policies.sam2act.weight_adapter import ReleasedWeights

CALIBRATION_BATCHES = 2  # of training data, for a fresh memory
State = MemoryBank | NoState


class SAM2ActPolicy(MultiviewPolicy):
    """The two-stage network with the image encoder of SAM 2.1.

    With a memory in its network it is SAM2Act+: it trains the coarse heat maps on windows of
    keyframes (paper section IV-C), and remembers the past of every environment.
    """

    network: SAM2ActNetwork
    Config = NetworkConfig
    may_change: ClassVar[tuple[str, ...]] = stages.MAY_CHANGE
    may_change_between_stages: ClassVar[tuple[str, ...]] = stages.MAY_CHANGE_IN_STAGE_TWO

    def __init__(self, network: SAM2ActNetwork, settings: PolicySettings, spec: PolicySpec) -> None:
        """Join a network and settings; `build` makes both from configurations.

        Raises:
            ConfigError: features are to be cached although they change during training.
        """
        super().__init__(network, settings, spec)
        self._weight_adapter = ReleasedWeights(self, unused_tensors(network.config))
        self.auxiliary = _auxiliary(network) if network.config.foresees else None
        caches = settings.cache_features and network.memory is not None
        self._cache = FeatureCache(network.encoders, settings.window) if caches else None

    # ------------------------------------------------------------------------------- building
    @classmethod
    def build(
        cls, config: NetworkConfig, experiment: ExperimentConfig, options: BuildOptions
    ) -> Any:
        """As all multi-view policies; `action_head: diffusion_chunk` gives another class.

        Raises:
            ConfigError: the two configurations contradict each other, or name an absent file.
        """
        if config.gives_chunks:
            return SAM2ActChunkPolicy.build(config, experiment, options)
        return super().build(config, experiment, options)

    @classmethod
    def ground_truth(
        cls, experiment: ExperimentConfig, config: NetworkConfig
    ) -> QuantisedDecoder | None:
        """How true keyframes come out of its grids and bins; None for chunks of actions."""
        return None if config.gives_chunks else super().ground_truth(experiment, config)

    @classmethod
    def build_network(cls, config: NetworkConfig, *, pretrained: bool) -> SAM2ActNetwork:
        """Two stages, with SAM 2's image encoder and, for SAM2Act+, the memory."""
        return SAM2ActNetwork(config, pretrained=pretrained)

    @classmethod
    def spec_of(cls, experiment: ExperimentConfig, config: NetworkConfig) -> PolicySpec:
        """With the keyframes that it remembers."""
        return policy_spec(experiment, config)

    @classmethod
    def check_stage(cls, stage: int, experiment: ExperimentConfig, config: NetworkConfig) -> None:
        """Stage 1 trains without memory, stage 2 the memory.

        Raises:
            ConfigError: a key belongs to the other stage.
        """
        stages.check_stage(stage, experiment, config)

    @classmethod
    def assumed_configs(cls, stage: int, state: Mapping[str, Tensor]) -> AssumedConfigs:
        """The published ones, with as many remembered keyframes as `state` has room for."""
        return stages.assumed_configs(stage, state)

    @property
    def weight_adapter(self) -> ReleasedWeights:
        """The released names, and the unused tensors that files carry along."""
        return self._weight_adapter

    @property
    def remembers(self) -> bool:
        """Whether it is SAM2Act+."""
        return self.network.memory is not None

    # ------------------------------------------------------------------------------- training
    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the loss terms, in the order in which `loss` gives them."""
        names = (HEATMAP_TERM,) if self.remembers else super().term_names
        return names if self.auxiliary is None else (*names, TERM)

    @property
    def published_samples(self) -> int:
        """Samples per update of the published training of this stage."""
        return stages.published_samples(self.network.config)

    def sample_noise(self, n: int, generator: torch.Generator) -> TrainingNoise | AuxiliaryNoise:  # type: ignore[override]  # wider with a second task
        """The random numbers of the loss of `n` samples; those of the auxiliary task come last."""
        noise = super().sample_noise(n, generator)
        return noise if self.auxiliary is None else self.auxiliary.draw(noise, n, generator)

    def training_state(self) -> dict[str, Tensor]:
        """The weights of the auxiliary task."""
        if self.auxiliary is None:
            return {}
        return {f"auxiliary.{name}": x for name, x in self.auxiliary.state_dict().items()}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of the auxiliary task."""
        super().load_training_state(state)
        if self.auxiliary is not None:
            own = {name.removeprefix("auxiliary."): value for name, value in state.items()}
            self.auxiliary.load_state_dict(own)

    def loss(
        self, batch: KeyframeBatch, language: Tensor, noise: TrainingNoise | AuxiliaryNoise
    ) -> LossOutput:
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
        if isinstance(noise, AuxiliaryNoise):
            return self._loss_with_auxiliary(batch, language, noise)
        if not self.remembers:
            return super().loss(batch, language, noise)
        self.begin_call()
        return self._window_loss(batch, language, noise)

    def _loss_with_auxiliary(
        self, batch: KeyframeBatch, language: Tensor, noise: AuxiliaryNoise
    ) -> LossOutput:
        """The losses of stage 1, and that of the next keyframe's views from the coarse tokens."""
        assert isinstance(batch, KeyframePreviewBatch) and self.auxiliary is not None
        self.begin_call()
        cloud, targets = self.prepare(batch, noise.keyframes)
        teacher = self.teacher_forcing(targets, noise.keyframes)
        output = self.network(cloud, batch.proprioception, language, teacher)
        plain = self.keyframe_losses(output, targets, batch)
        wanted = self._image_tokens_after(batch, noise.keyframes)
        extra = self.auxiliary.loss(output.coarse.tokens, wanted, batch.shown, noise)
        return LossOutput(
            plain.total + self.network.config.auxiliary_weight * extra,
            plain.terms | {TERM: extra.detach()},
            plain.per_sample,
        )

    @torch.no_grad()
    def _image_tokens_after(self, batch: KeyframePreviewBatch, noise: TrainingNoise) -> Tensor:
        """(M, T, P, P): what the image encoder says of the views at the next keyframe."""
        cloud = placed_after(batch, noise, self.settings, training=self.training)
        module, encoder = self.network.encoders[0], self.network.coarse_encoder
        was_training = module.training
        module.eval()  # its statistics are those of the frames themselves
        try:
            features = self.network.encode(self.network.render(cloud), encoder).coarse
        finally:
            module.train(was_training)
        return image_tokens(features)

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
            images = self.network.render(cloud, self.image_noise)
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
        if fresh and memory is not None and config.memory_init == "local":
            tokens = []
            for batch in data.batches(0, CALIBRATION_BATCHES):
                batch = cast(KeyframeBatch, batch.to(data.device))
                tokens.append(self.frozen_features(batch, data.language[batch.instruction])[0])
            memory.calibrate(torch.cat(tokens))
            data.share(memory.attention.norm.parameters())
        super().on_start(data, fresh=fresh)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Trainable parameters: one group, as published (quirk N17).

        With memory and `peract.upsampler_lr_scale`, the coarse upsampler is a group of its own.

        Raises:
            ConfigError: `peract.upsampler_lr_scale` is for the second stage.
        """
        scale = self.settings.upsampler_scale
        if scale == 1 or not self.remembers:
            return super().parameter_groups()
        trained = {n: p for n, p in self.named_parameters() if p.requires_grad}
        upsampler = [p for n, p in trained.items() if n.startswith("network.coarse.upsampler.")]
        others = [p for n, p in trained.items() if not n.startswith("network.coarse.upsampler.")]
        return [{"params": others}, {"params": upsampler, "lr_scale": scale}]

    # --------------------------------------------------------------------------------- acting
    def initial_state(self, n: int) -> State:
        """Empty memories of `n` environments; nothing without memory."""
        return self.network.empty_bank(n) if self.remembers else NoState()

    def run(
        self, cloud: Cloud, proprio: Tensor, language: Tensor, state: State
    ) -> tuple[TwoStageOutput, State]:
        """The network's prediction without ground truth, and memories with this keyframe added."""
        if isinstance(state, MemoryBank):
            return self.network.step(cloud, proprio, language, state)
        return self.network(cloud, proprio, language), state


def _auxiliary(network: SAM2ActNetwork) -> NextKeyframe:
    """Fresh decoder and diffusion network for the tokens of `network`.

    Raises:
        ConfigError: it has no image encoder.
    """
    config = network.config
    require(
        config.encodes_colors,
        f"auxiliary: {config.auxiliary} predicts what an image encoder sees; choose an encoder",
    )
    places = len(network.views) * config.grid_size**2
    return NextKeyframe(config.token_width, network.coarse_encoder.channels[2], places)
