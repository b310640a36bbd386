"""Random brightness, contrast, saturation and hue of camera images."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from sam2act.core.errors import ConfigError


def jitter_colors(
    rgb: Tensor, strength: float, draws: Tensor, *, hue: float | None = None
) -> Tensor:
    """Camera images with random brightness, contrast, saturation and hue; one draw per sample.

    Args:
        rgb: (B, K, H, W, 3) uint8; all cameras of a sample change alike.
        strength: largest relative change of brightness, contrast and saturation; 0 = unchanged.
        draws: (B, 4) uniform in [-1, 1]: brightness, contrast, saturation, hue.
        hue: largest turn of the hue in [0, 0.5]; default a quarter of `strength`, at most 0.5.

    Returns:
        (B, K, H, W, 3) uint8.

    Raises:
        ConfigError: torchvision is not installed.
        ValueError: negative strength.
    """
    if strength < 0:
        raise ValueError(f"peract.color_jitter must not be negative (it is {strength})")
    if strength == 0:
        return rgb
    functional = torchvision_functional()
    hue = min(strength / 4, 0.5) if hue is None else hue
    images = rgb.movedim(-1, -3)
    jittered = []
    # One sample after the other: the library takes one factor per call.
    for image, row in zip(images, draws.tolist(), strict=True):
        brightness, contrast, saturation = (max(0.0, 1 + strength * draw) for draw in row[:3])
        image = functional.adjust_brightness(image, brightness)
        image = functional.adjust_contrast(image, contrast)
        image = functional.adjust_saturation(image, saturation)
        jittered.append(functional.adjust_hue(image, hue * row[3]))
    return torch.stack(jittered).movedim(-3, -1)


def torchvision_functional() -> ModuleType:
    """torchvision's functional transforms, imported on demand.

    Raises:
        ConfigError: torchvision is absent.
    """
    from sam2act.core.torchvision_cpu import ensure_torchvision_importable

    try:
        ensure_torchvision_importable()
        from torchvision.transforms import functional
    except ImportError as error:
        raise ConfigError(
            f"peract.color_jitter needs torchvision, which cannot be imported ({error}); install "
            "the extra clip, which brings it, or set peract.color_jitter 0"
        ) from error
    return functional  # type: ignore[no-any-return]  # torchvision has no types
