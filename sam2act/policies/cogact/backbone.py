"""Backbones: images and an instruction -> the cognition feature that conditions the head.

Legend: B samples, K cameras, H W image size, L language tokens, D token width, C width of the
feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam2act.core.specs import PolicySpec
from sam2act.geometry.rotations import matrix_from_quaternion_xyzw
from sam2act.nn.linear import Linear
from sam2act.policies.cogact.config import CogACTConfig

_CHANNELS = (32, 48, 64, 32)
STATE_NUMBERS = 10  # position, two axes of the hand, opening


class TinyBackbone(nn.Module):
    """A convolutional network per camera, told by the instruction what to look for.

    The last maps are scaled and shifted by the instruction (FiLM); where each of them peaks in the
    image (spatial soft-max) is what the fusion gets.
    """

    def __init__(self, config: CogACTConfig, spec: PolicySpec) -> None:
        super().__init__()
        maps, width = _CHANNELS[-1], config.backbone_width
        self.cameras = nn.ModuleList(_convolutions() for _ in spec.camera_specs)
        self.language = nn.Sequential(Linear(config.lang_dim, width), nn.SiLU())
        self.film = Linear(width, 2 * maps * len(self.cameras))
        self.sees_state = config.sees_state
        places = 2 * maps * len(self.cameras)
        inputs = places + width + STATE_NUMBERS * config.sees_state
        self.fusion = nn.Sequential(
            Linear(inputs, width), nn.SiLU(), Linear(width, config.condition_dim)
        )

    def forward(self, images: Tensor, state: Tensor, language: Tensor) -> Tensor:
        """The cognition feature.

        Args:
            images: (B, K, H, W, 3) uint8.
            state: (B, 8) pose of the gripper and 1 = open; (B, 0) without `sees_state`.
            language: (B, L, D); tokens of zeros say nothing.

        Returns:
            (B, 1, C).
        """
        told = self.language(_mean_of_tokens(language))
        film = self.film(told).unflatten(1, (len(self.cameras), 2, -1))
        parts = [told]
        for number, network in enumerate(self.cameras):
            pixels = images[:, number].movedim(-1, 1).float() / 127.5 - 1
            scale, shift = film[:, number].unbind(1)
            maps = network(pixels) * (1 + scale[..., None, None]) + shift[..., None, None]
            parts.append(peaks(maps))
        if self.sees_state:
            parts.append(state_features(state))
        feature: Tensor = self.fusion(torch.cat(parts, dim=1))
        return feature[:, None]


def _convolutions() -> nn.Sequential:
    first, second, third, last = _CHANNELS
    return nn.Sequential(
        nn.Conv2d(3, first, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(second, third, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(third, last, 3, padding=1),
    )


def peaks(maps: Tensor) -> Tensor:
    """Spatial soft-max: the mean row and column under each map's probabilities.

    Args:
        maps: (B, M, h, w) logits.

    Returns:
        (B, 2 M): rows then columns, each from -1 to 1.
    """
    height, width = maps.shape[-2:]
    probability = maps.flatten(2).softmax(-1).unflatten(-1, (height, width))
    rows = torch.linspace(-1, 1, height, device=maps.device)
    columns = torch.linspace(-1, 1, width, device=maps.device)
    return torch.cat([probability.sum(-1) @ rows, probability.sum(-2) @ columns], dim=1)


def _mean_of_tokens(language: Tensor) -> Tensor:
    """(B, L, D) -> (B, D), over tokens that are not zeros."""
    count = language.any(-1).sum(1, keepdim=True).clamp(min=1)
    return language.sum(1) / count


def state_features(state: Tensor) -> Tensor:
    """(B, 8) pose and opening -> (B, 10): position, two axes of the hand, opening."""
    axes = matrix_from_quaternion_xyzw(state[:, 3:7])[:, :, :2].mT.flatten(1)
    return torch.cat([state[:, :3], axes, state[:, 7:]], dim=1)
