"""Sizes of the SAM 2.1 Hiera image encoders, built in or read from an original SAM2 yaml file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sam2act.core.errors import ConfigError


@dataclass(frozen=True)
class HieraSizes:
    """Constructor values of the Hiera trunk and its FPN neck; defaults are base-plus."""

    embed_dim: int = 112
    num_heads: int = 2
    stages: tuple[int, ...] = (2, 3, 16, 3)  # blocks per stage
    global_att_blocks: tuple[int, ...] = (12, 16, 20)
    window_spec: tuple[int, ...] = (8, 4, 14, 7)  # attention window per stage
    window_pos_embed_bkg_spatial_size: tuple[int, int] = (14, 14)
    neck_width: int = 256

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of the four stages, finest first; each stage doubles the width."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.stages)))


BUILT_IN_SIZES = {
    "t": HieraSizes(96, 1, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7), (7, 7)),
    "s": HieraSizes(96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7), (7, 7)),
    "b+": HieraSizes(),
    "l": HieraSizes(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), (7, 7)),
}

RELEASED_PARENTS = (".", "configs/sam2.1", "configs/sam2")  # of names, as Hydra resolves them
TRUNK_KEYS = {"embed_dim", "num_heads", "stages", "global_att_blocks", "window_spec"}
TRUNK_KEYS |= {"window_pos_embed_bkg_spatial_size"}
IGNORED_KEYS = {"_target_", "drop_path_rate", "weights_path", "return_interm_layers"}
ORIGINAL_DEFAULTS = {"embed_dim": 96, "num_heads": 1}  # where they differ from those above


def hiera_sizes(sam2_config: str) -> HieraSizes:
    """The sizes named by the config key `sam2_config`.

    `sam2_config` is the name of a published configuration in the form of the released code,
    `[configs/sam2.1/]sam2.1_hiera_{t,s,b+,l}.yaml`, which is no path there either; or the path of
    an existing SAM2 yaml, which is then read (extra `hydra`); or a path that ends in a published
    name, on which the built-in sizes are taken.

    Raises:
        ConfigError: neither a known name nor a readable file, or a file of another architecture.
    """
    path = Path(sam2_config)
    size = path.name.removesuffix(".yaml")
    size = size.removeprefix("sam2.1_hiera_").removeprefix("sam2_hiera_")
    is_name = size in BUILT_IN_SIZES and str(path.parent) in RELEASED_PARENTS
    if os.path.isfile(path) and not is_name:
        return _read_sam2_yaml(path)
    if size not in BUILT_IN_SIZES:
        raise ConfigError(
            f"sam2_config: {sam2_config!r} is neither a file nor one of the published names "
            f"sam2.1_hiera_{{{','.join(BUILT_IN_SIZES)}}}.yaml"
        )
    return BUILT_IN_SIZES[size]


def _read_sam2_yaml(path: Path) -> HieraSizes:
    """Trunk sizes of an original SAM2 yaml, through Hydra but without its global state."""
    try:
        from hydra.utils import instantiate
        from omegaconf import OmegaConf
    except ImportError as error:
        raise ConfigError(
            f"sam2_config: reading {path} needs the extra hydra (pip install -e '.[hydra]'); "
            "the four published sizes are built in"
        ) from error
    try:
        encoder = OmegaConf.select(OmegaConf.load(path), "model.image_encoder")
    except Exception as error:  # of omegaconf, yaml, or the text's encoding
        reason = " ".join(str(error).split())
        raise ConfigError(f"sam2_config: {path} cannot be read: {reason}") from error
    if encoder is None or "trunk" not in encoder:
        raise ConfigError(f"sam2_config: {path} has no model.image_encoder.trunk section")
    unknown = sorted(set(encoder.trunk) - TRUNK_KEYS - IGNORED_KEYS)
    if unknown:
        raise ConfigError(
            f"sam2_config: {path} sets {', '.join(unknown)} of the trunk, which this encoder does "
            "not have; remove the lines if they only repeat the default"
        )
    trunk: dict[str, Any] = {**ORIGINAL_DEFAULTS}
    trunk |= {key: encoder.trunk[key] for key in encoder.trunk if key in TRUNK_KEYS}
    trunk["neck_width"] = encoder.get("neck", {}).get("d_model", 256)
    trunk["_target_"] = f"{__name__}.HieraSizes"
    sizes: HieraSizes = instantiate(trunk, _convert_="all")
    rows, columns = sizes.window_pos_embed_bkg_spatial_size
    return replace(
        sizes,
        stages=tuple(sizes.stages),
        global_att_blocks=tuple(sizes.global_att_blocks),
        window_spec=tuple(sizes.window_spec),
        window_pos_embed_bkg_spatial_size=(rows, columns),
    )
