"""The policy RVT-2: the two-stage network on rendered views alone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sam2act.core.specs import PolicySpec
from sam2act.policies.base import AssumedConfigs
from sam2act.policies.multiview.policy import MultiviewPolicy
from sam2act.policies.multiview.released_names import branch_name
from sam2act.policies.multiview.renamed_weights import RenamedWeights
from sam2act.policies.multiview.settings import PolicySettings
from sam2act.policies.multiview.two_stage import TwoStageNetwork
from sam2act.policies.rvt2.config import RVT2Config

BIN_ENCODING = "mvt2.feat_fc_pe.div_term"
UPSAMPLERS = ("mvt1.up0.net_out.0.weight", "mvt2.up0.net_out.0.weight")
PUBLISHED_SAMPLES = 192  # 8 processes with 24 each


class RVT2Policy(MultiviewPolicy):
    """Three views, patches of all their channels, one convex step to heat maps."""

    network: TwoStageNetwork
    Config = RVT2Config

    def __init__(
        self, network: TwoStageNetwork, settings: PolicySettings, spec: PolicySpec
    ) -> None:
        """Join a network and settings; `build` makes both from configurations."""
        super().__init__(network, settings, spec)
        constant = network.get_buffer("fine.head.bin_encoding.div_term")
        self._weight_adapter = RenamedWeights(self, branch_name, constants={BIN_ENCODING: constant})

    @classmethod
    def build_network(cls, config: RVT2Config, *, pretrained: bool) -> TwoStageNetwork:
        """Two stages."""
        return TwoStageNetwork(config, pretrained=pretrained)

    @classmethod
    def recognises(cls, state: Mapping[str, Tensor]) -> bool:
        """Two branches with one convex step each, and no image encoder."""
        encoder = any(name.startswith(("sam2.", "encoders.")) for name in state)
        return all(name in state for name in UPSAMPLERS) and not encoder

    @classmethod
    def assumed_configs(cls, stage: int, state: Mapping[str, Tensor]) -> AssumedConfigs:
        """The published ones."""
        return AssumedConfigs("configs/rvt2.yaml", "configs/mvt/rvt2.yaml")

    @property
    def weight_adapter(self) -> RenamedWeights:
        """The released names."""
        return self._weight_adapter

    @property
    def published_samples(self) -> int:
        """Samples per update of the published training."""
        return PUBLISHED_SAMPLES
