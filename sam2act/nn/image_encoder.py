"""Image encoders: rendered colour views -> feature pyramid at three resolutions.

Legend: M rendered views of a batch (B * V), P tokens per side of a view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.config.component import WeightsFile
from sam2act.core.errors import ConfigError, require, require_choice, require_positive
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import WeightsError, misfit, require_finite, unwrapped
from sam2act.core.weights import find_weights, how_to_get
from sam2act.nn.hiera import Hiera, WindowAttention
from sam2act.nn.lora import LoRAQKV, adapter_parameters
from sam2act.nn.recomputation import RecomputationConfig
from sam2act.nn.sam2_sizes import HieraSizes, hiera_sizes

LEAKY_SLOPE = 0.02
SAM2_TOKEN_STRIDE = 16  # input pixels per token of the coarsest level that the policy uses


@dataclass(frozen=True)
class ImageEncoderConfig(RecomputationConfig):
    """Which image encoder, and what of it is trained."""

    encoder: str = "sam2"  # added: sam2 | tiny_conv
    encoder_trainable: str = "lora"  # added: lora | full | none
    tiny_conv_channels: tuple[int, ...] = (16, 16, 32, 64)  # added
    skip_convs: str = "random_frozen"  # added: + pretrained_frozen, pretrained_trained
    lora_finetune: bool = True
    lora_r: int = 16
    lora_cover: str = "published"  # added: published | full
    sam2_config: str = "configs/sam2.1/sam2.1_hiera_b+.yaml"
    sam2_ckpt: WeightsFile = "sam2.1_hiera_base_plus.pt"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "lora_r")
        require_choice("encoder", self.encoder, ("sam2", "tiny_conv"))
        require_choice("encoder_trainable", self.encoder_trainable, ("lora", "full", "none"))
        require_choice("lora_cover", self.lora_cover, ("published", "full"))
        require_choice(
            "skip_convs",
            self.skip_convs,
            ("random_frozen", "pretrained_frozen", "pretrained_trained"),
        )
        require(len(self.tiny_conv_channels) == 4, "tiny_conv_channels needs four values")
        require(
            self.encoder == "sam2" or self.encoder_trainable != "lora",
            "encoder: tiny_conv has no pretrained weights to adapt; "
            "set encoder_trainable: full (or none)",
        )
        require(
            self.encoder_trainable != "lora" or self.lora_finetune,
            "lora_finetune: False contradicts encoder_trainable: lora; set encoder_trainable to "
            "full or none",
        )
        require(
            self.encoder_trainable != "full" or not self.lora_finetune,
            "encoder_trainable: full trains the encoder itself; set lora_finetune: False, so that "
            "no adapters are inserted beside it",
        )


class FeaturePyramid(NamedTuple):
    """Image features; the names follow the paper's figure, coarsest last.

    Encoders without resolutions below their tokens give None for the two finer levels.
    """

    fine: Tensor | None  # s0, (M, C0, 4P, 4P), skip connection of the second upsampling
    middle: Tensor | None  # s1, (M, C1, 2P, 2P), skip connection of the first upsampling
    coarse: Tensor  # s2, (M, C2, P, P), part of the image tokens

    def changed(self, change: Callable[[Tensor], Tensor]) -> FeaturePyramid:
        """The pyramid of `change(level)` for every level that there is."""
        fine, middle = (None if x is None else change(x) for x in (self.fine, self.middle))
        return FeaturePyramid(fine, middle, change(self.coarse))


class ImageEncoder(Protocol):
    """What every image encoder offers."""

    channels: tuple[int, ...]  # widths of the three levels, finest first; 0 where there is none

    def __call__(self, rgb: Tensor) -> FeaturePyramid:
        """(M, 3, side, side) in [0, 1] -> pyramid."""
        ...

    def input_size(self, grid_size: int) -> int:
        """Side of the input image for P = `grid_size`."""
        ...


class NeckConvolution(nn.Module):
    """1x1 convolution (wrapped so that its released name `convs.N.conv` holds)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, h, w) -> (M, C', h, w)."""
        return self.conv(x)


class FpnNeck(nn.Module):
    """Feature pyramid: 1x1 convolutions and one top-down addition (8x8 into 16x16)."""

    def __init__(self, sizes: HieraSizes) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            NeckConvolution(width, sizes.neck_width) for width in reversed(sizes.stage_widths)
        )

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """Trunk outputs -> levels 0, 1, 2 (strides 4, 8, 16), each (M, neck_width, h, w)."""
        top, third, second, first = (
            conv(x) for conv, x in zip(self.convs, reversed(stages), strict=True)
        )
        # The sum is taken in float32, also under autocast, as in the released encoder.
        upsampled = F.interpolate(top.float(), scale_factor=2.0, mode="nearest")
        return [first, second, third + upsampled]


class Sam2ImageEncoder(nn.Module):
    """SAM 2.1 trunk and neck plus the two 1x1 skip convolutions (paper section IV-B).

    The encoder sees raw [0, 1] colours without mean and deviation (quirk N2).
    """

    trunk_prefix = "image_encoder."

    def __init__(self, sizes: HieraSizes) -> None:
        super().__init__()
        self.trunk = Hiera(sizes)
        self.neck = FpnNeck(sizes)
        width = sizes.neck_width
        self.conv_s0 = nn.Conv2d(width, width // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(width, width // 4, kernel_size=1)
        self.channels = (width // 8, width // 4, width)

    def forward(self, rgb: Tensor) -> FeaturePyramid:
        """(M, 3, 16 P, 16 P) in [0, 1] -> pyramid."""
        fine, middle, coarse = self.neck(self.trunk(rgb))
        return FeaturePyramid(self.conv_s0(fine), self.conv_s1(middle), coarse)

    def input_size(self, grid_size: int) -> int:
        """Side of the input image for P = `grid_size`."""
        return SAM2_TOKEN_STRIDE * grid_size

    def insert_lora(self, rank: int, cover: str) -> None:
        """Wrap the fused qkv projection of every trunk block."""
        for module in self.trunk.modules():
            if isinstance(module, WindowAttention):
                assert isinstance(module.qkv, nn.Linear), "LoRA is inserted once"
                module.qkv = LoRAQKV(module.qkv, rank, cover)

    @torch.no_grad()
    def load_pretrained(self, path: Path, *, with_skip_convs: bool) -> None:
        """Read a SAM 2.1 file; call before `insert_lora`.

        The published policies read names below `image_encoder` only, so their skip convolutions
        stay random (quirk N3); `with_skip_convs` reads these too.

        Raises:
            ConfigError: the file is absent, unreadable or holds an encoder of other sizes.
        """
        file_state = _read_sam2_file(path)
        state = {
            name.removeprefix(self.trunk_prefix): value
            for name, value in file_state.items()
            if name.startswith(self.trunk_prefix)
        }
        for name in ("conv_s0", "conv_s1"):
            for leaf in ("weight", "bias"):
                published = f"sam_mask_decoder.{name}.{leaf}"
                if not with_skip_convs:
                    state[f"{name}.{leaf}"] = getattr(getattr(self, name), leaf)
                elif published in file_state:
                    state[f"{name}.{leaf}"] = file_state[published]
                else:
                    raise ConfigError(f"sam2_ckpt: {path} holds no {published}")
        complaint = misfit(state, self.state_dict())
        if complaint:
            raise ConfigError(
                f"sam2_ckpt: {path} does not fit sam2_config; is it another size? {complaint}"
            )
        self.load_state_dict(state)


class TinyConvEncoder(nn.Module):
    """Four 3x3 convolutions with GroupNorm, for training from scratch at small image sizes."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        stem, fine, middle, coarse = channels
        self.stem = self._layer(3, stem, stride=1)
        self.to_fine = self._layer(stem, fine, stride=2)
        self.to_middle = self._layer(fine, middle, stride=2)
        self.to_coarse = self._layer(middle, coarse, stride=2)
        self.channels = (fine, middle, coarse)

    @staticmethod
    def _layer(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1),
            nn.GroupNorm(4, out_channels),
            nn.LeakyReLU(LEAKY_SLOPE),
        )

    def forward(self, rgb: Tensor) -> FeaturePyramid:
        """(M, 3, 8 P, 8 P) in [0, 1] -> pyramid."""
        fine = self.to_fine(self.stem(rgb))
        middle = self.to_middle(fine)
        return FeaturePyramid(fine, middle, self.to_coarse(middle))

    def input_size(self, grid_size: int) -> int:
        """Side of the input image for P = `grid_size`."""
        return 8 * grid_size


def build_encoders(config: ImageEncoderConfig, *, pretrained: bool = False) -> nn.ModuleList:
    """The image encoders of the coarse and the fine branch: one shared SAM2, or two tiny ones.

    Args:
        config: keys of the encoder.
        pretrained: read the SAM 2.1 file named by `sam2_ckpt` (unless that key is empty).

    Raises:
        ConfigError: the file is absent or does not fit.
    """
    if config.encoder == "tiny_conv":
        encoders = nn.ModuleList(TinyConvEncoder(config.tiny_conv_channels) for _ in range(2))
    else:
        encoder = Sam2ImageEncoder(hiera_sizes(config.sam2_config))
        encoder.trunk.checkpointing = config.activation_checkpointing
        with_skip_convs = config.skip_convs != "random_frozen"
        if pretrained and config.sam2_ckpt:
            otherwise = "set `sam2_ckpt ''` for a random encoder"
            file = find_weights("sam2_ckpt", config.sam2_ckpt, otherwise)
            encoder.load_pretrained(file, with_skip_convs=with_skip_convs)
        elif pretrained and with_skip_convs:
            raise ConfigError(f"skip_convs: {config.skip_convs} needs sam2_ckpt to name a file")
        if config.lora_finetune:
            encoder.insert_lora(config.lora_r, config.lora_cover)
        encoders = nn.ModuleList([encoder])
    set_encoder_trainable(encoders, config)
    return encoders


def set_encoder_trainable(encoders: nn.ModuleList, config: ImageEncoderConfig) -> None:
    """Set `requires_grad` of the encoders from `encoder_trainable` and `skip_convs`."""
    encoders.requires_grad_(config.encoder_trainable == "full")
    if config.encoder_trainable == "lora":
        for parameter in adapter_parameters(encoders):
            parameter.requires_grad_(True)
    for encoder in encoders:
        if isinstance(encoder, Sam2ImageEncoder):
            for conv in (encoder.conv_s0, encoder.conv_s1):
                conv.requires_grad_(config.skip_convs == "pretrained_trained")


def _read_sam2_file(path: Path) -> dict[str, Tensor]:
    try:
        content = read_weight_file(path)
        if not isinstance(content, dict) or "model" not in content:
            raise ConfigError(f"sam2_ckpt: {path} is not a SAM 2.1 file (no entry `model`)")
        state = unwrapped(content["model"])
        require_finite(state)
    except WeightFileError as error:
        remedy = f"Remove it, or name another file. {how_to_get(path.name)}"
        raise ConfigError(f"sam2_ckpt: {error}. {remedy}") from error
    except WeightsError as error:
        raise ConfigError(f"sam2_ckpt: {path}: {error}") from error
    return state
