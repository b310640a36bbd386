"""The configuration of RVT."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.policies.multiview.one_stage import OneStageConfig
from sam2act.policies.multiview.released_keys import OneStageSwitches, fixed


@dataclass(frozen=True)
class RVTConfig(OneStageSwitches, OneStageConfig):
    """The network (`--mvt_cfg_path`, `--mvt_cfg_opts`); configs/mvt/rvt.yaml is the published one.

    Defaults are those of the released code.
    """

    policy: str = "rvt"
    inp_pre_pro: bool = fixed(True)
    inp_pre_con: bool = fixed(True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "feat_dim", 3 * self.num_rot + 4)

    @property
    def encodes_colors(self) -> bool:
        """There is no image encoder."""
        return False
