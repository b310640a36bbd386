"""The SAM2Act policy: observation -> next keyframe pose, batch -> loss.

Legend: B batch, V view, S side of a rendered view.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sam2act.config.schema import GRAPH_MODES, ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.types import ActionChunk, KeyframeBatch, LossOutput, Observation
from sam2act.geometry.augmentation import AugmentationNoise, apply_se3
from sam2act.geometry.rotations import (
    bins_from_quaternion,
    canonical_quaternion,
    quaternion_from_bins,
)
from sam2act.geometry.scene_bounds import CubeFrame, SceneBounds
from sam2act.nn.lora import adapter_parameters, adapters
from sam2act.policies.multiview.losses import (
    ACTION_TERMS,
    EXCESS,
    HEATMAP_TERM,
    action_losses,
    excess_loss,
    heatmap_cross_entropy,
)
from sam2act.policies.multiview.preprocessing import WorldCloud, place_in_cube, world_cloud
from sam2act.policies.multiview.quantisation_bound import QuantisedDecoder
from sam2act.policies.multiview.targets import TrainingNoise, position_heatmaps
from sam2act.policies.multiview.two_stage import (
    Cloud,
    TeacherForcing,
    TwoStageNetwork,
    TwoStageOutput,
)
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.processing.color_jitter import jitter_colors


@dataclass(frozen=True)
class PolicySettings:
    """The values of both configs that the policy itself uses."""

    bounds: SceneBounds
    crop: bool
    center_on_cloud: bool
    points: int
    heatmap_sigma: float
    image_noise: float
    color_noise: float
    color_jitter: float
    augment: bool
    translation_range: tuple[float, ...]
    rotation_range: tuple[float, ...]
    action_losses: bool
    bins: int
    half_projection: bool
    sequence_augmentation: str
    window: int  # consecutive rows of a batch that are one sequence; 1 = independent samples
    cache_features: bool
    force_ignore_collisions: bool | None  # overrides the predicted flag when acting
    skip_dead_lora: bool

    @classmethod
    def from_configs(
        cls, experiment: ExperimentConfig, network: NetworkConfig, *, float16: bool
    ) -> PolicySettings:
        """Collect the settings; `float16` = training really runs under float16 autocast."""
        optimisation = experiment.peract
        return cls(
            bounds=SceneBounds.from_sequence(experiment.scene_bounds),
            crop=experiment.rvt.move_pc_in_bound,
            center_on_cloud=experiment.rvt.place_with_mean,
            points=network.data.points,
            heatmap_sigma=experiment.rvt.gt_hm_sigma,
            image_noise=experiment.rvt.img_aug,
            color_noise=experiment.rvt.point_color_noise,
            color_jitter=optimisation.color_jitter,
            augment=optimisation.transform_augmentation,
            translation_range=optimisation.transform_augmentation_xyz,
            rotation_range=optimisation.transform_augmentation_rpy,
            action_losses=optimisation.add_rgc_loss,
            bins=network.num_rot,
            half_projection=float16 and network.target_projection == "float16",
            sequence_augmentation="shared_draws"
            if optimisation.same_trans_aug_per_seq
            else optimisation.sequence_augmentation,
            window=network.num_maskmem + 1 if network.use_memory else 1,
            cache_features=optimisation.cache_frozen_features,
            force_ignore_collisions=experiment.eval.force_ignore_collisions,
            skip_dead_lora=optimisation.skip_dead_lora,
        )


@dataclass(frozen=True)
class Prediction:
    """Everything a forward pass without ground truth gives; `act` keeps the action only."""

    action: ActionChunk
    output: TwoStageOutput
    frame: CubeFrame


@dataclass(frozen=True)
class Targets:
    """Ground truth in the frames of the network."""

    waypoint: Tensor  # (B, 3) cube
    bins: Tensor  # (B, 3)


def noisy_colors(rgb: Tensor, strength: float) -> Tensor:
    """(B, N, 3) colours with what the released option `img_aug_2` is meant to add.

    Each cloud draws its own bound s = strength * U[0, 1) and adds U[-s, s) to every value; the sum
    is not clamped.
    """
    bound = strength * torch.rand(len(rgb), 1, 1, device=rgb.device, dtype=rgb.dtype)
    return rgb + bound * (2 * torch.rand_like(rgb) - 1)


class SAM2ActPolicy(nn.Module):
    """Joins preprocessing, the two-stage network, targets and losses."""

    Config = NetworkConfig

    def __init__(self, network: TwoStageNetwork, settings: PolicySettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self._uses_graphs = False
        for adapter in adapters(network.encoders):
            adapter.dead = settings.skip_dead_lora

    @classmethod
    def ground_truth(cls, experiment: ExperimentConfig, config: NetworkConfig) -> QuantisedDecoder:
        """How true keyframes come out of the policy's grids and bins."""
        return QuantisedDecoder(experiment, config)

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the loss terms, in the order in which `loss` gives them."""
        return (HEATMAP_TERM, *(ACTION_TERMS if self.settings.action_losses else ()))

    @property
    def sample_value_names(self) -> tuple[str, ...]:
        """The excess loss of the coarse heat maps."""
        return (EXCESS,)

    # ------------------------------------------------------------------------------- training
    def forward(self, batch: KeyframeBatch, language: Tensor, draws: TrainingNoise) -> LossOutput:
        """`loss` (the form that distributed wrappers call)."""
        return self.loss(batch, language, draws)

    def loss(self, batch: KeyframeBatch, language: Tensor, draws: TrainingNoise) -> LossOutput:
        """Losses of a batch; no backward, no optimiser.

        Args:
            batch: B samples on the network's device.
            language: (B, L, lang_dim).
            draws: the random numbers of these samples, on the same device.

        Returns:
            total, terms named as the published code logs them, and the excess of the coarse branch
            per sample.
        """
        self.begin_call()
        cloud, targets = self.prepare(batch, draws)
        jittered = (targets.bins[:, :2] + draws.bin_jitter) % self.settings.bins
        guidance = TeacherForcing(
            waypoint=targets.waypoint,
            zoom_noise=draws.zoom,
            teacher_bins=jittered,
            image_noise=self.settings.image_noise if self.training else 0.0,
            half_projection=self.settings.half_projection,
        )
        output = self.network(cloud, batch.proprioception, language, guidance)
        heatmap_loss, excess = self._heatmap_loss(output, targets.waypoint)
        terms = {HEATMAP_TERM: heatmap_loss}
        if self.settings.action_losses:
            assert output.fine.action is not None
            terms |= action_losses(
                output.fine.action, targets.bins, batch.gripper_open, batch.ignore_collisions
            )
        total = torch.stack(list(terms.values())).sum()
        if self.settings.skip_dead_lora:
            total = total + self._nothing_of_adapters()
        logged = {name: value.detach() for name, value in terms.items()}
        return LossOutput(total, logged, {EXCESS: excess})

    def _nothing_of_adapters(self) -> Tensor:
        """Zero, which gives the adapters that are not computed the gradient zero.

        Their down projections have that gradient anyway, and must decay like everything else.
        """
        return 0 * torch.stack([p.sum() for p in adapter_parameters(self.network.encoders)]).sum()

    def check_dead_lora(self) -> None:
        """Raise `ConfigError` if `peract.skip_dead_lora` would leave out adapters that act."""
        if not self.settings.skip_dead_lora:
            return
        found = adapters(self.network.encoders)
        if not found:
            raise ConfigError(
                "peract.skip_dead_lora: True is for encoders with LoRA adapters, and this network "
                "has none; set it to False, or encoder_trainable to lora"
            )
        if any(adapter.moved for adapter in found):
            raise ConfigError(
                "peract.skip_dead_lora: True needs LoRA up projections that are zero, but those of "
                "this checkpoint have been trained; set it to False"
            )

    @torch.no_grad()
    def prepare(self, batch: KeyframeBatch, draws: TrainingNoise) -> tuple[Cloud, Targets]:
        """Augment, crop and place a batch in the cube; targets move with it."""
        settings = self.settings
        with torch.autocast(batch.rgb.device.type, enabled=False):
            cloud = self._colored_cloud(batch, draws)
            pose = batch.target_pose
            if settings.augment and self.training:
                points, pose = self._augmented(cloud.points, pose, draws.augmentation)
                cloud = WorldCloud(points, cloud.rgb)
            placed, frame = self._place(cloud, draws.subset_seed)
            bins = bins_from_quaternion(canonical_quaternion(pose[:, 3:]), settings.bins)
            return placed, Targets(frame.to_cube(pose[:, :3]), bins)

    def _augmented(
        self, points: Tensor, pose: Tensor, draws: AugmentationNoise
    ) -> tuple[Tensor, Tensor]:
        """Moved points (B, N, 3) and poses (B, 7); see `peract.sequence_augmentation`."""
        settings = self.settings
        if settings.sequence_augmentation == "shared_draws":
            draws = draws.shared_within(settings.window)
        return apply_se3(
            points,
            pose,
            draws,
            settings.bounds,
            settings.translation_range,
            settings.rotation_range,
            rigid_window=settings.window if settings.sequence_augmentation == "rigid" else 1,
        )

    def _colored_cloud(self, batch: KeyframeBatch, draws: TrainingNoise) -> WorldCloud:
        observation = batch.observation()
        if self.settings.color_jitter and self.training:
            rgb = jitter_colors(batch.rgb, self.settings.color_jitter, draws.color)
            observation = dataclasses.replace(observation, rgb=rgb)
        cloud = world_cloud(observation)
        if self.settings.color_noise and self.training:
            cloud = WorldCloud(cloud.points, noisy_colors(cloud.rgb, self.settings.color_noise))
        return cloud

    def _place(self, cloud: WorldCloud, seed: Tensor | None = None) -> tuple[Cloud, CubeFrame]:
        return place_in_cube(
            cloud,
            self.settings.bounds,
            crop=self.settings.crop,
            center_on_cloud=self.settings.center_on_cloud,
            subset=self.settings.points,
            subset_seed=seed,
        )

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

    def parameter_groups(self, upsampler_scale: float) -> list[dict]:
        """Trainable parameters for the optimiser: one group, as published.

        Raises:
            ConfigError: `peract.upsampler_lr_scale` is for the second stage.
        """
        if upsampler_scale != 1:
            raise ConfigError("peract.upsampler_lr_scale is for train_plus.py; set it to 1")
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    # ------------------------------------------------------------------------------ inference
    def act(self, observation: Observation, language: Tensor) -> ActionChunk:
        """The next keyframe pose of every environment, world frame."""
        return self.predict(observation, language).action

    @torch.no_grad()
    def predict(self, observation: Observation, language: Tensor) -> Prediction:
        """Action, heat maps and frames for a batch of observations.

        Args:
            observation: B observations on the network's device.
            language: (B, L, lang_dim).
        """
        self.begin_call()
        was_training = self.training
        self.eval()
        try:
            cloud, frame = self._place(world_cloud(observation))
            output = self.network(cloud, observation.proprioception, language)
        finally:
            self.train(was_training)
        return Prediction(self._decode(output, frame, cloud), output, frame)

    def _decode(self, output: TwoStageOutput, frame: CubeFrame, cloud: Cloud) -> ActionChunk:
        """Actions in the world frame; not valid where `cloud` has no point to act on."""
        action = output.fine.action
        assert action is not None
        position = frame.to_world(output.waypoint)
        quaternion = quaternion_from_bins(action.rotation.argmax(-1), self.settings.bins)
        gripper, ignore = (
            scores.argmax(-1, keepdim=True).to(position)
            for scores in (action.gripper, action.collision)
        )
        if self.settings.force_ignore_collisions is not None:
            ignore = torch.full_like(ignore, float(self.settings.force_ignore_collisions))
        values = torch.cat([position, quaternion.to(position), gripper, ignore], dim=1)
        return ActionChunk(values[:, None], cloud.valid.any(dim=1, keepdim=True))
