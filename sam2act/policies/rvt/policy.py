"""The policy RVT: five soft views, one forward pass, the next keyframe pose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from sam2act.core.weight_names import LoadReport, WeightsError, unwrapped
from sam2act.policies.base import AssumedConfigs
from sam2act.policies.multiview import stages
from sam2act.policies.multiview.one_stage import OneStageNetwork
from sam2act.policies.multiview.policy import MultiviewPolicy
from sam2act.policies.multiview.released_names import ONE_STAGE_RULES, renamed
from sam2act.policies.multiview.renamed_weights import RenamedWeights
from sam2act.policies.rvt.config import RVTConfig

PREFIX = "mvt1."  # of released names; those of the first release lack it
OWN_NAME = "input_preprocess.conv2d.weight"  # of this network alone
PUBLISHED_SAMPLES = 24  # 8 processes with 3 each


class RVTPolicy(MultiviewPolicy):
    """Patches of preprocessed images, a bilinear decoder, scores from pooled features."""

    network: OneStageNetwork
    Config = RVTConfig
    normalises_batches: ClassVar[bool] = False
    may_change: ClassVar[tuple[str, ...]] = tuple(
        key for key in stages.MAY_CHANGE if key not in ("sam2_ckpt", "final_dim")
    )

    @classmethod
    def build_network(cls, config: RVTConfig, *, pretrained: bool) -> OneStageNetwork:
        """One stage, without an image encoder."""
        return OneStageNetwork(config)

    @classmethod
    def recognises(cls, state: Mapping[str, Tensor]) -> bool:
        """A branch that preprocesses its images."""
        return OWN_NAME in state or PREFIX + OWN_NAME in state

    @classmethod
    def assumed_configs(cls, stage: int, state: Mapping[str, Tensor]) -> AssumedConfigs:
        """The published ones."""
        return AssumedConfigs("configs/rvt.yaml", "configs/mvt/rvt.yaml")

    @property
    def weight_adapter(self) -> RenamedWeights:
        """The released names."""
        return RVTWeights(self, released_name)

    @property
    def published_samples(self) -> int:
        """Samples per update of the published training."""
        return PUBLISHED_SAMPLES


class RVTWeights(RenamedWeights):
    """Also reads the names of the first release."""

    def load(self, state: Mapping[str, Any]) -> LoadReport:
        """As `RenamedWeights.load`."""
        state = unwrapped(state)
        if OWN_NAME in state:
            state = {PREFIX + name: value for name, value in state.items()}
        return super().load(state)


def released_name(name: str) -> str:
    """The released name of our tensor `name` of the network.

    Raises:
        WeightsError: no rule covers it (a module without a mapping).
    """
    released = renamed(ONE_STAGE_RULES, name.removeprefix("branch."))
    if released is None:
        raise WeightsError(f"no released name for {name}: add a rule to released_names.py")
    return PREFIX + released
