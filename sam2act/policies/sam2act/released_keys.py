"""Keys of released yaml files that choose nothing here."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require


@dataclass(frozen=True)
class FixedSwitches(ComponentConfig):
    """Switches of the released code whose other value could not run there either.

    Their defaults are the values that released yaml files set, not those of the released code.
    """

    add_proprio: bool = True
    add_lang: bool = True
    add_corr: bool = True
    add_pixel_loc: bool = True
    add_depth: bool = True
    pe_fix: bool = True
    cvx_up: bool = True
    inp_pre_pro: bool = False
    inp_pre_con: bool = False
    ifSAM2: bool = True
    ifsep: bool = False
    resize_rgb: bool = True
    feat_ver: int = 1
    rot_ver: int = 1
    stage_two: bool = True
    weight_tie_layers: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = [
            f"{item.name}: {item.default}"
            for item in fields(FixedSwitches)
            if getattr(self, item.name) != item.default
        ]
        require(
            not wrong,
            f"this network supports only {', '.join(wrong)}; start from configs/mvt/sam2act.yaml, "
            "which sets them",
        )


@dataclass(frozen=True)
class UnusedKeys(ComponentConfig):
    """Keys without effect; they are read and written all the same."""

    img_feat_dim: int = 3
    feat_dim: int = 220  # overwritten by 3 * num_rot + 4
    decoder_dropout: float = 0.0
    final_dim: int = 64
    img_aug_2: float = 0.0  # has no effect in the released code either (quirk N1)
