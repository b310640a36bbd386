"""What all multi-view keyframe policies do: observation -> next keyframe pose, batch -> loss.

Legend: B batch, V view, S side of a rendered view.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from sam2act.config.experiment import GRAPH_MODES, ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk, KeyframeBatch, LossOutput, Observation
from sam2act.geometry.scene_bounds import CubeFrame
from sam2act.nn.lora import adapters
from sam2act.policies.base import BuildOptions, NoState, Policy, PolicyState, StartData
from sam2act.policies.multiview import stages
from sam2act.policies.multiview.config import MultiviewConfig
from sam2act.policies.multiview.losses import (
    ACTION_TERMS,
    EXCESS,
    HEATMAP_TERM,
    action_losses,
    excess_loss,
    heatmap_cross_entropy,
)
from sam2act.policies.multiview.network import (
    Cloud,
    KeyframeOutput,
    MultiviewNetwork,
    Stage,
    TeacherForcing,
)
from sam2act.policies.multiview.prediction import Prediction, decoded
from sam2act.policies.multiview.preprocessing import world_cloud
from sam2act.policies.multiview.quantisation_bound import QuantisedDecoder
from sam2act.policies.multiview.samples import Targets, placed, prepared
from sam2act.policies.multiview.settings import PolicySettings, check_compatible, policy_spec
from sam2act.policies.multiview.targets import TrainingNoise, position_heatmaps

SomePolicy = TypeVar("SomePolicy", bound="MultiviewPolicy")


class MultiviewPolicy(Policy):
    """Joins preprocessing, a multi-view network of any number of stages, targets and losses.

    A subclass has `Config` and `build_network`, and overrides what it does otherwise.
    """

    network: MultiviewNetwork
    may_change: ClassVar[tuple[str, ...]] = stages.MAY_CHANGE
    normalises_batches: ClassVar[bool] = True  # an update needs more than one sample per process

    def __init__(
        self, network: MultiviewNetwork, settings: PolicySettings, spec: PolicySpec
    ) -> None:
        """Join a network and settings; `build` makes both from configurations."""
        super().__init__()
        self.network = network
        self.settings = settings
        self._spec = spec
        self._uses_graphs = False
        for adapter in adapters(network.encoders):
            adapter.dead = settings.skip_dead_lora

    # ------------------------------------------------------------------------------- building
    @classmethod
    def build(
        cls: type[SomePolicy], config: Any, experiment: ExperimentConfig, options: BuildOptions
    ) -> SomePolicy:
        """A policy with fresh weights, or with the public ones of its image encoder.

        Raises:
            ConfigError: the two configurations contradict each other, or name an absent file.
        """
        check_compatible(experiment, config)
        settings = PolicySettings.from_configs(experiment, config, float16=options.float16)
        network = cls.build_network(config, pretrained=options.pretrained)
        return cls(network, settings, cls.spec_of(experiment, config))

    @classmethod
    def build_network(cls, config: Any, *, pretrained: bool) -> MultiviewNetwork:
        """The network of a `Config`; `pretrained` reads the public weights of its encoder.

        Raises:
            ConfigError: impossible sizes, or the file is absent or does not fit.
        """
        raise NotImplementedError

    @classmethod
    def spec_of(cls, experiment: ExperimentConfig, config: Any) -> PolicySpec:
        """What a policy of these configurations wants and gives."""
        return policy_spec(experiment, config)

    @classmethod
    def check_stage(cls, stage: int, experiment: ExperimentConfig, config: Any) -> None:
        """One stage of training, on independent samples.

        Raises:
            ConfigError: a key is for another stage, or the batch is too small.
        """
        super().check_stage(stage, experiment, config)
        if cls.normalises_batches:
            stages.check_batch(experiment)
        stages.check_independent_samples(experiment)

    @classmethod
    def check_available(
        cls, experiment: ExperimentConfig, config: MultiviewConfig, device: torch.device
    ) -> None:
        """Make sure that the packages and the device that options need are there.

        Raises:
            ConfigError: they are not.
        """
        stages.check_available(experiment, config, device)

    @classmethod
    def ground_truth(cls, experiment: ExperimentConfig, config: Any) -> QuantisedDecoder | None:
        """How true keyframes come out of the policy's grids and bins."""
        return QuantisedDecoder(experiment, config)

    @property
    def spec(self) -> PolicySpec:
        """Colour and depth of the cameras in, keyframe poses out."""
        return self._spec

    def parts(self) -> dict[str, nn.Module]:
        """Those of the network."""
        return self.network.parts()

    # ------------------------------------------------------------------------------- training
    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the loss terms, in the order in which `loss` gives them."""
        return (HEATMAP_TERM, *(ACTION_TERMS if self.settings.action_losses else ()))

    @property
    def sample_value_names(self) -> tuple[str, ...]:
        """The excess loss of the first heat maps."""
        return (EXCESS,)

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
            batch: B samples on the network's device.
            language: (B, L, lang_dim).
            noise: the random numbers of these samples, on the same device.

        Returns:
            total, terms named as the published code logs them, and the excess of the first heat
            maps per sample.
        """
        self.begin_call()
        cloud, targets = self.prepare(batch, noise)
        teacher = self.teacher_forcing(targets, noise)
        output = self.network(cloud, batch.proprioception, language, teacher)
        return self.keyframe_losses(output, targets, batch)

    def teacher_forcing(self, targets: Targets, noise: TrainingNoise) -> TeacherForcing:
        """The ground truth that steers the forward pass."""
        return TeacherForcing(
            waypoint=targets.waypoint,
            zoom_noise=noise.zoom,
            teacher_bins=(targets.bins[:, :2] + noise.bin_jitter) % self.settings.bins,
            image_noise=self.image_noise,
            half_projection=self.settings.half_projection,
        )

    @property
    def image_noise(self) -> float:
        """Bound of the noise on rendered images (`rvt.img_aug`); none in evaluation."""
        return self.settings.image_noise if self.training else 0.0

    def keyframe_losses(
        self, output: KeyframeOutput, targets: Targets, batch: KeyframeBatch
    ) -> LossOutput:
        """Losses of what the network predicted of `batch`."""
        terms, excess = self.terms(output, targets, batch)
        total = torch.stack(list(terms.values())).sum()
        if self.settings.skip_dead_lora:
            total = total + stages.nothing_of_adapters(self.network.encoders)
        logged = {name: value.detach() for name, value in terms.items()}
        return LossOutput(total, logged, {EXCESS: excess})

    def terms(
        self, output: Any, targets: Targets, batch: KeyframeBatch
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Loss terms by name, and the excess (B,) of the first heat maps."""
        found = self.network.stages(output, targets.waypoint)
        heatmap_loss, excess = self._heatmap_loss(found)
        terms = {HEATMAP_TERM: heatmap_loss}
        if self.settings.action_losses:
            terms |= action_losses(
                output.action, targets.bins, batch.gripper_open, batch.ignore_collisions
            )
        return terms, excess

    def _heatmap_loss(self, predicted: list[Stage]) -> tuple[Tensor, Tensor]:
        """Mean over the views of all stages, and the excess (B,) of the first one."""
        targets = [self.heatmaps(stage.target) for stage in predicted]
        logits = torch.cat([stage.heatmaps for stage in predicted], dim=1)
        cross_entropy = heatmap_cross_entropy(logits, torch.cat(targets, dim=1))
        first = targets[0]
        return cross_entropy.mean(), excess_loss(cross_entropy[:, : first.shape[1]], first)

    def on_start(self, data: StartData, *, fresh: bool) -> None:
        """Tell which released options something else serves; check the adapters.

        Raises:
            ConfigError: see `check_weights`.
        """
        stages.tell_substitutes(self.network.config)
        self.check_weights()

    def check_weights(self) -> None:
        """Raise `ConfigError` if `peract.skip_dead_lora` would leave out adapters that act."""
        if self.settings.skip_dead_lora:
            stages.check_dead_lora(self.network.encoders)

    @torch.no_grad()
    def prepare(self, batch: KeyframeBatch, noise: TrainingNoise) -> tuple[Cloud, Targets]:
        """Augment, crop and place a batch in the cube; targets move with it."""
        return prepared(batch, noise, self.settings, training=self.training)

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
                shift=self.network.config.pixel_shift,
            )

    def compile_network(self, mode: str) -> None:
        """torch.compile the parts that take the time; `mode` is one of COMPILE_MODES.

        Compiled code may round otherwise. Rendering and arg-max have kernels of their own. With
        CUDA graphs, heat maps of a prediction are gone when the next one is made.
        """
        if not mode:
            return
        self._uses_graphs = mode in GRAPH_MODES
        for part in self.network.costly_parts():
            part.compile(mode=mode)

    def begin_call(self) -> None:
        """Every loss and prediction begins here: graphs may write over what they returned before.

        Without it, each compiled part would do so as soon as the next part starts.
        """
        if self._uses_graphs:
            torch.compiler.cudagraph_mark_step_begin()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Trainable parameters: one group, as published (quirk N17).

        Raises:
            ConfigError: `peract.upsampler_lr_scale` is for the second stage.
        """
        if self.settings.upsampler_scale != 1:
            raise ConfigError("peract.upsampler_lr_scale is for train_plus.py; set it to 1")
        return super().parameter_groups()

    # --------------------------------------------------------------------------------- acting
    def act(
        self, observation: Observation, language: Tensor, state: Any
    ) -> tuple[ActionChunk, PolicyState]:
        """The next keyframe pose of every environment, world frame, and what to remember."""
        prediction, state = self.predict_step(observation, language, state)
        return prediction.action, state

    def predict(self, observation: Observation, language: Tensor) -> Prediction:
        """`predict_step` without any past: every environment at the start of its episode."""
        return self.predict_step(observation, language, self.initial_state(len(observation)))[0]

    @torch.no_grad()
    def predict_step(
        self, observation: Observation, language: Tensor, state: Any
    ) -> tuple[Prediction, PolicyState]:
        """Action, heat maps and frames for a batch of observations, each with its past.

        Args:
            observation: B observations on the network's device.
            language: (B, L, lang_dim).
            state: what is remembered of the B environments.

        Returns:
            the prediction, and the state with this keyframe added.
        """
        self.begin_call()
        was_training = self.training
        self.eval()
        try:
            cloud, frame = placed(world_cloud(observation), self.settings.when_acting())
            output, state = self.run(cloud, observation.proprioception, language, state)
        finally:
            self.train(was_training)
        return Prediction(self.decode(output, frame, cloud), output, frame), state

    def decode(self, output: Any, frame: CubeFrame, cloud: Cloud) -> ActionChunk:
        """What an output of the network means in the world."""
        return decoded(output, frame, cloud, self.settings)

    def run(
        self, cloud: Cloud, proprio: Tensor, language: Tensor, state: Any
    ) -> tuple[Any, PolicyState]:
        """The network's prediction without ground truth, and what to remember."""
        return self.network(cloud, proprio, language), NoState()
