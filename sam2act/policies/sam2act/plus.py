"""The SAM2Act+ policy: training on windows of keyframes, acting with memories.

Legend: B environments, F frames of a training batch (whole windows of W = num_maskmem + 1
consecutive keyframes), V view, M = F * V, P tokens per side, S side of a rendered view.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.core.types import KeyframeBatch, LossOutput, Observation
from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.policies.multiview.losses import (
    EXCESS,
    HEATMAP_TERM,
    excess_loss,
    heatmap_cross_entropy,
)
from sam2act.policies.multiview.preprocessing import world_cloud
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.plus_network import SAM2ActPlusNetwork
from sam2act.policies.sam2act.policy import PolicySettings, Prediction, SAM2ActPolicy

FrameKey = tuple[object, ...]


class SAM2ActPlusPolicy(SAM2ActPolicy):
    """SAM2Act with memory: stage 2 trains the coarse heat maps only (paper section IV-C)."""

    def __init__(self, network: SAM2ActPlusNetwork, settings: PolicySettings) -> None:
        """With `peract.cache_frozen_features`, outputs of frozen parts are kept per frame.

        Raises:
            ConfigError: features are to be cached although they change during training.
        """
        super().__init__(network, settings)
        self._cache: FeatureCache | None = None
        if settings.cache_features:
            trained = [n for n, p in network.encoders.named_parameters() if p.requires_grad]
            if trained:
                raise ConfigError(
                    "peract.cache_frozen_features: True needs a frozen image encoder; set "
                    f"stage_two_freeze_skip_convs: True ({trained[0]} is trained)"
                )
            self._cache = FeatureCache()

    @property
    def plus(self) -> SAM2ActPlusNetwork:
        """The network with its memory."""
        return cast(SAM2ActPlusNetwork, self.network)

    @property
    def term_names(self) -> tuple[str, ...]:
        """Only the coarse heat maps are trained."""
        return (HEATMAP_TERM,)

    # ------------------------------------------------------------------------------- training
    def loss(self, batch: KeyframeBatch, language: Tensor, draws: TrainingNoise) -> LossOutput:
        """Mean coarse heat-map loss over all frames of the windows.

        Args:
            batch: F samples, every run of W in temporal order.
            language: (F, L, lang_dim).
            draws: the random numbers of these samples.

        Raises:
            ConfigError: the batch is not a whole number of windows.
        """
        self.begin_call()
        heatmaps, waypoint = self._window_heatmaps(batch, language, draws)
        target = self.heatmaps(waypoint)
        cross_entropy = heatmap_cross_entropy(heatmaps, target)
        total = cross_entropy.mean()
        excess = excess_loss(cross_entropy, target)
        return LossOutput(total, {HEATMAP_TERM: total.detach()}, {EXCESS: excess})

    def _window_heatmaps(
        self, batch: KeyframeBatch, language: Tensor, draws: TrainingNoise
    ) -> tuple[Tensor, Tensor]:
        """Predicted maps (F, V, S, S) and true positions (F, 3) in the cube."""
        if self._cache is None:
            cloud, targets = self.prepare(batch, draws)
            noise = self.settings.image_noise if self.training else 0.0
            images = self.network.render(cloud, noise)
            maps = self.plus.window_heatmaps(images, batch.proprioception, language)
            return maps, targets.waypoint
        tokens, pyramid, waypoint = self._cache.get(self, batch, language)
        return self.plus.window_heatmaps_of_tokens(tokens, pyramid), waypoint

    @torch.no_grad()
    def frozen_features(
        self, batch: KeyframeBatch, language: Tensor
    ) -> tuple[Tensor, FeaturePyramid, Tensor]:
        """Tokens (M, C, P, P), image features and true cube positions (F, 3), all frozen.

        Without augmentation, with a fixed subset of points and without dropout, so that they are
        the same whenever they are computed.
        """
        was_training = self.training
        self.eval()
        try:
            draws = TrainingNoise.sample(len(batch), torch.Generator().manual_seed(0))
            seeds = torch.zeros_like(draws.subset_seed)
            cloud, targets = self.prepare(batch, draws.with_subset_seed(seeds).to(batch.rgb.device))
            images = self.network.render(cloud)
            tokens, pyramid = self.plus.coarse_tokens(images, batch.proprioception, language)
        finally:
            self.train(was_training)
        return tokens, pyramid, targets.waypoint

    def parameter_groups(self, upsampler_scale: float) -> list[dict]:
        """Trainable parameters; the coarse upsampler's rate is `upsampler_scale` times the rest's.

        One group, as published (quirk N17), if the scale is 1.
        """
        trained = {n: p for n, p in self.named_parameters() if p.requires_grad}
        upsampler = [p for n, p in trained.items() if n.startswith("network.coarse.upsampler.")]
        others = [p for n, p in trained.items() if not n.startswith("network.coarse.upsampler.")]
        if upsampler_scale == 1:
            return [{"params": list(trained.values())}]
        return [{"params": others}, {"params": upsampler, "lr_scale": upsampler_scale}]

    # ------------------------------------------------------------------------------ inference
    @torch.no_grad()
    def predict_step(
        self, observation: Observation, language: Tensor, bank: MemoryBank
    ) -> tuple[Prediction, MemoryBank]:
        """Predict the next keyframe of every environment from its observation and its past.

        Args:
            observation: B observations on the network's device.
            language: (B, L, lang_dim).
            bank: memories of the B environments.

        Returns:
            the prediction, and the bank with this keyframe added.
        """
        self.begin_call()
        was_training = self.training
        self.eval()
        try:
            cloud, frame = self._place(world_cloud(observation))
            output, bank = self.plus.step(cloud, observation.proprioception, language, bank)
        finally:
            self.train(was_training)
        return Prediction(self._decode(output, frame, cloud), output, frame), bank

    @torch.no_grad()
    def predict(self, observation: Observation, language: Tensor) -> Prediction:
        """A prediction without any past: every environment at the first step of its episode."""
        bank = self.plus.empty_bank(len(observation.rgb))
        return self.predict_step(observation, language, bank)[0]


class FeatureCache:
    """Outputs of the frozen parts, one entry per training sample."""

    def __init__(self) -> None:
        self._entries: dict[FrameKey, tuple[Tensor, ...]] = {}

    def get(
        self, policy: SAM2ActPlusPolicy, batch: KeyframeBatch, language: Tensor
    ) -> tuple[Tensor, FeaturePyramid, Tensor]:
        """`frozen_features` of the batch, computed once per sample."""
        # The same frame occurs with different time features, so these belong to the key.
        states = batch.proprioception.tolist()
        keys: list[FrameKey] = [
            (*identity, *state) for identity, state in zip(batch.identities, states, strict=True)
        ]
        if any(key not in self._entries for key in keys):
            tokens, pyramid, waypoint = policy.frozen_features(batch, language)
            frames = [level.unflatten(0, (len(keys), -1)) for level in (tokens, *pyramid)]
            for row, key in enumerate(keys):
                self._entries[key] = tuple(level[row].clone() for level in (*frames, waypoint))
        columns = zip(*(self._entries[key] for key in keys), strict=True)
        tokens, fine, middle, coarse, waypoint = (torch.stack(column) for column in columns)
        pyramid = FeaturePyramid(*(level.flatten(0, 1) for level in (fine, middle, coarse)))
        return tokens.flatten(0, 1), pyramid, waypoint
