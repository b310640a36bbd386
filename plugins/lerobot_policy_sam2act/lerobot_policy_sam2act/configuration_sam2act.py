"""The keys of config.json and of `--policy.<key>`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType
from lerobot.optim.optimizers import AdamWConfig

from sam2act.config.load import load_experiment, load_network, to_dict


@PreTrainedConfig.register_subclass("sam2act")
@dataclass
class SAM2ActConfig(PreTrainedConfig):
    """A policy of sam2act, whichever its network configuration names.

    Attributes:
        preset: shipped configurations of a fresh policy; read only where the next two are empty.
        experiment: the experiment configuration.
        network: the network configuration.
        stage: of training that the weights come from; 2 = with memory.
        step: updates done.
        transforms: what stands between observations and the policy.
        rows_per_pass: rows of a forward pass. With 1 an action does not depend, to the last bit, on
            the other rows of the batch; larger is faster on a GPU.
    """

    preset: str = "tiny"
    experiment: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    stage: int = 1
    step: int | None = None
    transforms: list[str] = field(default_factory=list)
    rows_per_pass: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.experiment:
            self.experiment = to_dict(load_experiment(f"configs/{self.preset}.yaml"))
            self.network = to_dict(load_network(f"configs/mvt/{self.preset}.yaml"))

    def validate_features(self) -> None:
        """Make sure that there are images.

        Raises:
            ValueError: there are none.
        """
        if not any(ft.type is FeatureType.VISUAL for ft in (self.input_features or {}).values()):
            raise ValueError("input_features: the policy takes images, but none are named")

    def get_optimizer_preset(self) -> AdamWConfig:
        """AdamW; the published optimiser belongs to `sam2act train`."""
        return AdamWConfig(lr=1e-4, weight_decay=1e-4)

    def get_scheduler_preset(self) -> None:
        """A constant rate."""
        return None

    @property
    def observation_delta_indices(self) -> None:
        """One observation."""
        return None

    @property
    def action_delta_indices(self) -> None:
        """One action."""
        return None

    @property
    def reward_delta_indices(self) -> None:
        """No rewards."""
        return None
