"""The keys of config.json and of `--policy.<key>`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType

from lerobot_policy_sam2act.optimisation import SAM2ActOptimizerConfig, SAM2ActSchedulerConfig
from lerobot_policy_sam2act.samples import window_of
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import (
    changed,
    from_dict,
    load_experiment,
    load_network,
    network_from_dict,
    to_dict,
)
from sam2act.policies.base import policy_class
from sam2act.training.budget import TrainingBudget


@PreTrainedConfig.register_subclass("sam2act")
@dataclass
class SAM2ActConfig(PreTrainedConfig):
    """A policy of sam2act, whichever its network configuration names.

    Attributes:
        preset: shipped configurations of a fresh policy; read only where the next two are empty.
        experiment: the experiment configuration.
        network: the network configuration.
        experiment_opts: changes of the experiment configuration, `"key value key value"`.
        network_opts: changes of the network configuration.
        init_from: weights that a new training begins with, a checkpoint or a folder that
            `sam2act export` or LeRobot wrote; a policy with memory takes those of its first stage.
        optimizer_lr: learning rate after the warm-up; None = `peract.lr` times `bs`.
        stage: of training that the weights come from; 2 = with memory.
        step: updates done.
        transforms: what stands between observations and the policy.
        rows_per_pass: rows of a forward pass. With 1 an action does not depend, to the last bit, on
            the other rows of the batch; larger is faster on a GPU.
    """

    preset: str = "tiny"
    experiment: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    experiment_opts: str = ""
    network_opts: str = ""
    init_from: str = ""
    optimizer_lr: float | None = None
    stage: int = 1
    step: int | None = None
    transforms: list[str] = field(default_factory=list)
    rows_per_pass: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.experiment:
            self.experiment = to_dict(load_experiment(f"configs/{self.preset}.yaml"))
            self.network = to_dict(load_network(f"configs/mvt/{self.preset}.yaml"))
        self.experiment = to_dict(changed(self.experiment_config(), self.experiment_opts))
        self.network = to_dict(changed(self.network_config(), self.network_opts))
        self.experiment_opts = self.network_opts = ""  # they are part of the others now

    def experiment_config(self) -> ExperimentConfig:
        """The experiment configuration, checked."""
        return from_dict(ExperimentConfig, self.experiment)

    def network_config(self) -> Any:
        """The network configuration, checked: a `Config` of the policy that it names."""
        return network_from_dict(self.network)

    def validate_features(self) -> None:
        """Make sure that there are images.

        Raises:
            ValueError: there are none.
        """
        if not any(ft.type is FeatureType.VISUAL for ft in (self.input_features or {}).values()):
            raise ValueError("input_features: the policy takes images, but none are named")

    # ----------------------------------------------------------------------------- training
    @property
    def keyframe_window(self) -> int:
        """Consecutive keyframes that belong together in training; 1 without memory."""
        network = self.network_config()
        spec_of = getattr(policy_class(network), "spec_of", None)
        return 1 if spec_of is None else window_of(spec_of(self.experiment_config(), network))

    @property
    def drop_n_last_frames(self) -> int:
        """Where LeRobot's sampler starts no row: the last frame of an episode leads to no keyframe,
        and windows end before it."""
        return self.keyframe_window

    @property
    def learning_rate(self) -> float:
        """After the warm-up."""
        if self.optimizer_lr is not None:
            return self.optimizer_lr
        return TrainingBudget.from_config(self.experiment_config(), world_size=1).learning_rate

    def get_optimizer_preset(self) -> SAM2ActOptimizerConfig:
        """The optimiser of the experiment configuration."""
        values = self.experiment_config().peract
        return SAM2ActOptimizerConfig(
            lr=self.learning_rate,
            weight_decay=values.lambda_weight_l2,
            grad_clip_norm=values.grad_clip,
            optimizer_type=values.optimizer_type,
            bnb=values.bnb,
            betas=(float(values.betas[0]), float(values.betas[1])),
            zero_norm_escape=values.zero_norm_escape,
        )

    def get_scheduler_preset(self) -> SAM2ActSchedulerConfig:
        """The schedule of the experiment configuration, over the steps of LeRobot's training."""
        values = self.experiment_config().peract
        return SAM2ActSchedulerConfig(
            num_warmup_steps=values.warmup_steps,
            peak_lr=self.learning_rate,
            cosine=values.lr_cos_dec,
        )

    @property
    def observation_delta_indices(self) -> list[int] | None:
        """One observation, or in training the window of a policy with memory."""
        window = self.keyframe_window
        return list(range(window)) if window > 1 else None

    @property
    def action_delta_indices(self) -> None:
        """One action."""
        return None

    @property
    def reward_delta_indices(self) -> None:
        """No rewards."""
        return None
