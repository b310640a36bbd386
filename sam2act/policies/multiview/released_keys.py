"""Keys of released yaml files that choose nothing here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require
from sam2act.core.registry import DEFAULT_POLICY

FIXED = "fixed"


def fixed(value: Any) -> Any:
    """A key whose only value is `value`; see `FixedSwitches`."""
    return field(default=value, metadata={FIXED: True})


@dataclass(frozen=True)
class FixedSwitches(ComponentConfig):
    """Switches of the released code whose other value could not run there either.

    Defaults are the values that released yaml files set, not those of the released code.
    """

    add_proprio: bool = fixed(True)
    add_lang: bool = fixed(True)
    add_corr: bool = fixed(True)
    add_pixel_loc: bool = fixed(True)
    add_depth: bool = fixed(True)
    weight_tie_layers: bool = fixed(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = [
            f"{item.name}: {item.default}"
            for item in fields(self)
            if item.metadata.get(FIXED) and getattr(self, item.name) != item.default
        ]
        policy = getattr(self, "policy", DEFAULT_POLICY)
        require(
            not wrong,
            f"this network supports only {', '.join(wrong)}; start from "
            f"configs/mvt/{policy}.yaml, which sets them",
        )


@dataclass(frozen=True)
class TwoStageSwitches(FixedSwitches):
    """Those of networks with two stages."""

    pe_fix: bool = fixed(True)
    cvx_up: bool = fixed(True)
    inp_pre_pro: bool = fixed(False)
    inp_pre_con: bool = fixed(False)
    feat_ver: int = fixed(1)
    rot_ver: int = fixed(1)
    stage_two: bool = fixed(True)


@dataclass(frozen=True)
class UnusedKeys(ComponentConfig):
    """Keys without effect; they are read and written all the same."""

    img_feat_dim: int = 3
    feat_dim: int = 220  # overwritten by 3 * num_rot + 4
    decoder_dropout: float = 0.0
    final_dim: int = 64
    img_aug_2: float = 0.0  # has no effect in the released code either (quirk N1)


@dataclass(frozen=True)
class OneStageSwitches(FixedSwitches):
    """Those of networks without a zoom, and their keys without effect."""

    pe_fix: bool = fixed(True)
    cvx_up: bool = fixed(False)
    feat_ver: int = fixed(0)
    rot_ver: int = fixed(0)
    stage_two: bool = fixed(False)
    img_feat_dim: int = 3
    feat_dim: int = 220  # overwritten by 3 * num_rot + 4
    decoder_dropout: float = 0.0
    img_aug_2: float = 0.0
    wpt_img_aug: float = 0.01
    st_sca: float = 4.0
    st_wpt_loc_aug: float = 0.05
    st_wpt_loc_inp_no_noise: bool = False
