"""The configuration of RVT-2."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.policies.multiview.config import TwoStageConfig
from sam2act.policies.multiview.released_keys import TwoStageSwitches, UnusedKeys


@dataclass(frozen=True)
class RVT2Config(UnusedKeys, TwoStageSwitches, TwoStageConfig):
    """The network (`--mvt_cfg_path`, `--mvt_cfg_opts`); configs/mvt/rvt2.yaml is the published one.

    Keys that RVT-2 does not have default to what it does.
    """

    policy: str = "rvt2"
    encoder: str = "none"
    upsampler: str = "convex14"
    multires_inputs: bool = False
    heatmap_half: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "feat_dim", 3 * self.num_rot + 4)
