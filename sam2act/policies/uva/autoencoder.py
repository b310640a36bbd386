"""Pictures <-> latents: the frozen autoencoder in front of the transformer.

Legend: M pictures, S side of a picture, c channels and s side of latents.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.core.errors import ConfigError, require
from sam2act.core.torchvision_cpu import ensure_torchvision_importable

KL16_SCALE, KL16_FACTOR, KL16_CHANNELS = 0.2325, 16, 16
KL16_BLOCKS = (128, 128, 256, 256, 512)
WIDTH = 64  # of the small autoencoder
LOG_VARIANCE = -5.0  # with which the small one starts: near 0 its latents stay pure noise
LIMIT = (-30.0, 20.0)  # of log variances, as published


class Moments(NamedTuple):
    """The Gaussian of latents, (M, c, s, s) each."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Latents with this standard normal `noise`."""
        return self.mean + (self.log_variance / 2).exp() * noise

    def divergence(self) -> Tensor:
        """(M,) Kullback-Leibler divergence from the standard normal, in nats."""
        parts = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * parts.flatten(1).sum(1)


class Autoencoder(nn.Module):
    """What every autoencoder does; pictures have colours from -1 to 1."""

    scale: Tensor  # () factor that brings latents to a spread near 1; 0 = not measured yet

    def moments(self, pictures: Tensor) -> Moments:
        """(M, 3, S, S) -> the distribution of the latents, unscaled."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Unscaled latents (M, c, s, s) -> pictures (M, 3, S, S)."""
        raise NotImplementedError


class SmallAutoencoder(Autoencoder):
    """Two strided convolutions, each followed by another one, and the way back."""

    def __init__(self, channels: int, factor: int) -> None:
        """With fresh weights.

        Args:
            channels: of the latents.
            factor: pixels per latent, a multiple of 4.

        Raises:
            ConfigError: it is none.
        """
        super().__init__()
        require(
            factor % 4 == 0,
            f"vae: small needs a multiple of 4 pixels per latent, image_side and latent_side give "
            f"{factor}",
        )
        first, second, half = 4, factor // 4, WIDTH // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(3, half, first, stride=first),
            nn.SiLU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(half, WIDTH, second, stride=second),
            nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, 2 * channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, half * second**2, 3, padding=1),
            nn.PixelShuffle(second),
            nn.SiLU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(half, 3 * first**2, 3, padding=1),
            nn.PixelShuffle(first),
        )
        last = self.encoder[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        with torch.no_grad():
            last.bias[channels:] = LOG_VARIANCE
        self.scale: Tensor
        self.register_buffer("scale", torch.zeros(()))

    def moments(self, pictures: Tensor) -> Moments:
        """(M, 3, S, S) -> the distribution of the latents, unscaled."""
        mean, log_variance = self.encoder(pictures).chunk(2, dim=1)
        return Moments(mean, log_variance.clamp(*LIMIT))

    def decode(self, latents: Tensor) -> Tensor:
        """Unscaled latents (M, c, s, s) -> pictures (M, 3, S, S)."""
        out: Tensor = self.decoder(latents)
        return out


class KL16Autoencoder(Autoencoder):
    """The published autoencoder, 66.5 M parameters, by the package diffusers."""

    def __init__(self) -> None:
        """With fresh weights.

        Raises:
            ConfigError: diffusers is not installed.
        """
        super().__init__()
        ensure_torchvision_importable()
        try:
            kind: Any = import_module("diffusers").AutoencoderKL
        except (ImportError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"vae: kl16 needs the package diffusers ({reason}); pip install 'sam2act[uva]', or "
                "set vae: small"
            ) from error
        levels = len(KL16_BLOCKS)
        attention = "AttnDownEncoderBlock2D"
        self.network: Any = kind(
            block_out_channels=KL16_BLOCKS,
            down_block_types=("DownEncoderBlock2D",) * (levels - 1) + (attention,),
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=2,
            latent_channels=KL16_CHANNELS,
            sample_size=256,
        )
        self.register_buffer("scale", torch.tensor(KL16_SCALE))

    def moments(self, pictures: Tensor) -> Moments:
        """(M, 3, S, S) -> the distribution of the latents, unscaled."""
        found = self.network.encode(pictures).latent_dist
        return Moments(found.mean, found.logvar)

    def decode(self, latents: Tensor) -> Tensor:
        """Unscaled latents (M, c, s, s) -> pictures (M, 3, S, S)."""
        out: Tensor = self.network.decode(latents).sample
        return out


def pictures_of(rgb: Tensor, side: int) -> Tensor:
    """(M, H, W, 3) uint8 -> (M, 3, side, side) from -1 to 1, resized bilinearly."""
    pictures = rgb.movedim(-1, 1).float() / 127.5 - 1
    if tuple(pictures.shape[-2:]) == (side, side):
        return pictures
    return F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False)


def colours_of(pictures: Tensor) -> Tensor:
    """(M, 3, S, S) from -1 to 1 -> (M, S, S, 3) uint8."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)
