"""A small network that denoises single tokens, steered by a condition through its norms (MAR).

Legend: B tokens, C numbers of a token, Z width of the condition, D width. Names of modules are
those of the released weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.nn.diffusion.dit import INITIAL_STD, NORM_EPS, StepEmbedder
from sam2act.nn.linear import Linear, initialise_linears


class _Residual(nn.Module):
    """Norm, shift and scale, two layers, gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = nn.Sequential(Linear(width, width), nn.SiLU(), Linear(width, width))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(width, 3 * width))

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        """(B, D) and what steers it (B, D) -> (B, D)."""
        shift, scale, gate = self.adaLN_modulation(steer).chunk(3, dim=-1)
        return x + gate * self.mlp(self.in_ln(x) * (1 + scale) + shift)


class _Output(nn.Module):
    """Norm without parameters, shift and scale, a layer."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = Linear(width, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(width, 2 * width))

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        """(B, D) and what steers it (B, D) -> (B, out)."""
        shift, scale = self.adaLN_modulation(steer).chunk(2, dim=-1)
        normed = F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)
        return self.linear(normed * (1 + scale) + shift)


class SimpleMLPAdaLN(nn.Module):
    """Predicts noise and variance of tokens, for `LearnedVarianceDiffusion`."""

    def __init__(self, channels: int, condition: int, width: int, depth: int) -> None:
        """With fresh weights; the output starts at zero, and the blocks change nothing.

        Args:
            channels: C, numbers of a token.
            condition: Z, width of the condition.
            width: D.
            depth: residual blocks.
        """
        super().__init__()
        self.time_embed = StepEmbedder(width)
        self.cond_embed = Linear(condition, width)
        self.input_proj = Linear(channels, width)
        self.res_blocks = nn.ModuleList(_Residual(width) for _ in range(depth))
        self.final_layer = _Output(width, 2 * channels)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The published initial values."""
        initialise_linears(self)
        for layer in self.time_embed.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=INITIAL_STD)
        for name, parameter in self.named_parameters():
            if name.endswith(("adaLN_modulation.1.weight", "final_layer.linear.weight")):
                nn.init.zeros_(parameter)

    def forward(self, noisy: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """(B, C), steps (B,) and conditions (B, Z) -> (B, 2 C)."""
        x = self.input_proj(noisy)
        steer = self.time_embed(step) + self.cond_embed(condition)
        for block in self.res_blocks:
            x = block(x, steer)
        return self.final_layer(x, steer)
