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
from sam2act.core.registry import IMAGE_ENCODERS
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import WeightsError, misfit, require_finite, unwrapped
from sam2act.core.weights import find_weights, how_to_get
from sam2act.nn.hiera import Hiera, WindowAttention
from sam2act.nn.lora import LoRAQKV, adapter_parameters
from sam2act.nn.recomputation import RecomputationConfig
from sam2act.nn.sam2_sizes import HieraSizes, hiera_sizes

LEAKY_SLOPE = 0.02
NORMALISATIONS = ("none", "imagenet", "half")
SAM2_TOKEN_STRIDE = 16  # input pixels per token of the coarsest level that the policy uses


@dataclass(frozen=True)
class ImageEncoderConfig(RecomputationConfig):
    """Which image encoder, and what of it is trained."""

    encoder: str = "sam2"  # added: a name of core/registry.py: IMAGE_ENCODERS
    encoder_variant: str = ""  # added: its size; "" = the usual one. For sam2 see sam2_config
    encoder_ckpt: WeightsFile = ""  # added: its public weights, or random; for sam2 see sam2_ckpt
    encoder_normalize: str = "auto"  # added: auto | none | imagenet | half: colours it sees
    encoder_trainable: str = "lora"  # added: lora | full | none
    multires_inputs: bool = True  # added: the upsampler adds the encoder's finer levels
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
        IMAGE_ENCODERS.check(self.encoder)
        require_choice("encoder_trainable", self.encoder_trainable, ("lora", "full", "none"))
        require_choice("lora_cover", self.lora_cover, ("published", "full"))
        require_choice(
            "skip_convs",
            self.skip_convs,
            ("random_frozen", "pretrained_frozen", "pretrained_trained"),
        )
        require(len(self.tiny_conv_channels) == 4, "tiny_conv_channels needs four values")
        require_choice("encoder_normalize", self.encoder_normalize, ("auto", *NORMALISATIONS))
        self._check_kind()
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

    @property
    def encoder_kind(self) -> EncoderKind:
        """What is known of the encoder before it is built."""
        kind: EncoderKind = IMAGE_ENCODERS.get(self.encoder)
        return kind

    def _check_kind(self) -> None:
        kind, name = self.encoder_kind, self.encoder
        require(
            kind.adaptable or self.encoder_trainable != "lora",
            f"encoder: {name} has no attention of pretrained weights to adapt; "
            "set encoder_trainable: full (or none)",
        )
        for key, neutral in (("encoder_variant", ""), ("encoder_normalize", "auto")):
            require(
                bool(kind.variants) or getattr(self, key) == neutral,
                f"{key}: {getattr(self, key)} does not concern encoder: {name}; leave it out",
            )
        require(
            bool(kind.variants) or not self.encoder_ckpt,
            f"encoder_ckpt does not concern encoder: {name}; leave it out",
        )
        if self.encoder_variant:
            require_choice("encoder_variant", self.encoder_variant, kind.variants)
        require(
            kind.finer_levels or not self.multires_inputs,
            f"multires_inputs: True needs an encoder with finer levels, and {name} has none; set "
            "multires_inputs: False",
        )
        require(
            self.multires_inputs or self.skip_convs == "random_frozen",
            f"skip_convs: {self.skip_convs} concerns levels that multires_inputs: False leaves "
            "out; set it to random_frozen",
        )


@dataclass(frozen=True)
class EncoderKind:
    """One choice of the key `encoder`; `core/registry.py: IMAGE_ENCODERS` names them all.

    Attributes:
        build: (keys, P, pretrained) -> an encoder of P x P tokens, with its public weights where
            they are asked for, and with adapters; raises `ConfigError` if a file does not fit.
        finer_levels: it gives all levels of the pyramid; otherwise the coarse one alone.
        adaptable: LoRA can adapt it.
        variants: choices of `encoder_variant`; empty = the keys `encoder_*` do not concern it.
        per_branch: each branch has its own; otherwise both share one.
    """

    build: Callable[[ImageEncoderConfig, int, bool], nn.Module]
    finer_levels: bool = False
    adaptable: bool = True
    variants: tuple[str, ...] = ()
    per_branch: bool = False


class FeaturePyramid(NamedTuple):
    """Image features; the names follow the paper's figure, coarsest last.

    Encoders without resolutions below their tokens give None for the two finer levels, and so do
    all with `multires_inputs: False`.
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

    def __init__(self, sizes: HieraSizes, *, finer_levels: bool = True) -> None:
        super().__init__()
        self.trunk = Hiera(sizes)
        self.neck = FpnNeck(sizes)
        width = sizes.neck_width
        self.finer_levels = finer_levels
        self.channels = (0, 0, width)
        if finer_levels:
            self.conv_s0 = nn.Conv2d(width, width // 8, kernel_size=1)
            self.conv_s1 = nn.Conv2d(width, width // 4, kernel_size=1)
            self.channels = (width // 8, width // 4, width)

    @property
    def skip_convolutions(self) -> dict[str, nn.Conv2d]:
        """The projections of the finer levels by name; empty without these."""
        return {"conv_s0": self.conv_s0, "conv_s1": self.conv_s1} if self.finer_levels else {}

    def forward(self, rgb: Tensor) -> FeaturePyramid:
        """(M, 3, 16 P, 16 P) in [0, 1] -> pyramid."""
        fine, middle, coarse = self.neck(self.trunk(rgb))
        if not self.finer_levels:
            return FeaturePyramid(None, None, coarse)
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
        for name, convolution in self.skip_convolutions.items():
            for leaf in ("weight", "bias"):
                published = f"sam_mask_decoder.{name}.{leaf}"
                if not with_skip_convs:
                    state[f"{name}.{leaf}"] = getattr(convolution, leaf)
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

    def __init__(self, channels: tuple[int, ...], *, finer_levels: bool = True) -> None:
        super().__init__()
        self.finer_levels = finer_levels
        stem, fine, middle, coarse = channels
        self.stem = self._layer(3, stem, stride=1)
        self.to_fine = self._layer(stem, fine, stride=2)
        self.to_middle = self._layer(fine, middle, stride=2)
        self.to_coarse = self._layer(middle, coarse, stride=2)
        self.channels = (fine, middle, coarse) if finer_levels else (0, 0, coarse)

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
        coarse = self.to_coarse(middle)
        if not self.finer_levels:
            return FeaturePyramid(None, None, coarse)
        return FeaturePyramid(fine, middle, coarse)

    def input_size(self, grid_size: int) -> int:
        """Side of the input image for P = `grid_size`."""
        return 8 * grid_size


class NoEncoder(nn.Module):
    """No features: tokens are made of patches and the robot's state alone, as in RVT-2."""

    channels = (0, 0, 0)

    def forward(self, rgb: Tensor) -> FeaturePyramid:
        """(M, 3, P, P) -> a pyramid whose coarse level has no channels."""
        return FeaturePyramid(None, None, rgb[:, :0])

    def input_size(self, grid_size: int) -> int:
        """Side of the input image for P = `grid_size`."""
        return grid_size


def _build_sam2(config: ImageEncoderConfig, grid_size: int, pretrained: bool) -> nn.Module:
    sizes = hiera_sizes(config.sam2_config)
    encoder = Sam2ImageEncoder(sizes, finer_levels=config.multires_inputs)
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
    return encoder


def _build_tiny(config: ImageEncoderConfig, grid_size: int, pretrained: bool) -> nn.Module:
    return TinyConvEncoder(config.tiny_conv_channels, finer_levels=config.multires_inputs)


SAM2 = EncoderKind(_build_sam2, finer_levels=True)
TINY_CONV = EncoderKind(_build_tiny, finer_levels=True, adaptable=False, per_branch=True)
NONE = EncoderKind(lambda config, grid_size, pretrained: NoEncoder())


def build_encoders(
    config: ImageEncoderConfig, grid_size: int = 16, *, pretrained: bool = False
) -> nn.ModuleList:
    """The image encoders of the coarse and the fine branch: one that both share, or one each.

    Args:
        config: keys of the encoder.
        grid_size: P.
        pretrained: read the public weights that the keys name.

    Raises:
        ConfigError: the file is absent or does not fit.
    """
    kind = config.encoder_kind
    count = 2 if kind.per_branch else 1
    encoders = nn.ModuleList(kind.build(config, grid_size, pretrained) for _ in range(count))
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
            for conv in encoder.skip_convolutions.values():
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
