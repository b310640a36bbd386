"""The values that multi-view policies take from both configurations, and how these must agree."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.specs import LanguageSpec, PolicySpec, square_cameras
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.multiview.config import MultiviewConfig


@dataclass(frozen=True)
class PolicySettings:
    """The values of both configs that the policy itself uses."""

    bounds: SceneBounds
    crop: bool
    center_on_cloud: bool
    center_on_cloud_when_acting: bool
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
    upsampler_scale: float  # with memory: factor on the rate of the coarse upsampler

    def when_acting(self) -> PolicySettings:
        """The settings for observations that come from an environment."""
        return dataclasses.replace(self, center_on_cloud=self.center_on_cloud_when_acting)

    @classmethod
    def from_configs(
        cls, experiment: ExperimentConfig, network: MultiviewConfig, *, float16: bool
    ) -> PolicySettings:
        """Collect the settings; `float16` = training really runs under float16 autocast."""
        optimisation = experiment.peract
        return cls(
            bounds=SceneBounds.from_sequence(experiment.scene_bounds),
            crop=experiment.rvt.move_pc_in_bound,
            center_on_cloud=experiment.rvt.place_with_mean,
            center_on_cloud_when_acting=_centered_when_acting(experiment, network),
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
            window=network.training_window,
            cache_features=optimisation.cache_frozen_features,
            force_ignore_collisions=experiment.eval.force_ignore_collisions,
            skip_dead_lora=optimisation.skip_dead_lora,
            upsampler_scale=optimisation.upsampler_lr_scale,
        )


def _centered_when_acting(experiment: ExperimentConfig, network: MultiviewConfig) -> bool:
    """`eval.place_with_mean`; the released evaluation overrides the trained value for networks
    without a zoom (quirk N18)."""
    asked, trained = experiment.eval.place_with_mean, experiment.rvt.place_with_mean
    if asked == "auto":
        return trained or network.zoom is None
    return trained if asked == "trained" else asked == "True"


def policy_spec(experiment: ExperimentConfig, network: MultiviewConfig) -> PolicySpec:
    """What a policy of these configurations wants and gives."""
    return PolicySpec(
        camera_specs=square_cameras(experiment.cameras, experiment.image_size, depth=True),
        language=LanguageSpec(experiment.language.encoder, network.lang_len, network.lang_dim),
        bounds=SceneBounds.from_sequence(experiment.scene_bounds),
        crop=experiment.rvt.move_pc_in_bound,
    )


def check_compatible(experiment: ExperimentConfig, network: MultiviewConfig) -> None:
    """Raise `ConfigError` where the two configurations contradict each other."""
    bins = experiment.peract.num_rotation_classes
    if network.num_rot != bins:
        raise ConfigError(
            f"num_rot {network.num_rot} (network config) must equal "
            f"peract.num_rotation_classes {bins} (experiment config)"
        )
