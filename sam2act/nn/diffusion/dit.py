"""A diffusion transformer for action chunks, conditioned by a token in front (CogACT's head).

Legend: B samples, H actions of a chunk, A numbers of an action, D width, C width of a condition.
Names of modules are those of the released weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require, require_choice, require_positive
from sam2act.nn.diffusion.process import PredictNoise
from sam2act.nn.linear import Linear, initialise_linears

SINUSOIDS = 256
LONGEST_PERIOD = 10000
MLP_RATIO = 4
INITIAL_STD = 0.02
NORM_EPS = 1e-6
SIZES = {"DiT-S": (6, 384, 4), "DiT-B": (12, 768, 12), "DiT-L": (24, 1024, 16)}


@dataclass(frozen=True)
class DiTConfig(ComponentConfig):
    """Sizes of the head; `action_model_type` names published ones, `custom` takes the next keys."""

    action_model_type: str = "DiT-B"  # DiT-S | DiT-B | DiT-L | custom
    dit_depth: int = 2
    dit_width: int = 32
    dit_heads: int = 4
    future_action_window_size: int = 15  # actions of a chunk after the present one
    action_dim: int = 7
    condition_dim: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("action_model_type", self.action_model_type, (*SIZES, "custom"))
        require_positive(self, "dit_depth", "dit_width", "dit_heads", "action_dim", "condition_dim")
        require(self.future_action_window_size >= 0, "future_action_window_size must be 0 or more")
        _, width, heads = self.sizes
        require(
            width % heads == 0,
            f"dit_width {width} must be a multiple of dit_heads, which is {heads}",
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Depth, width and heads."""
        own = (self.dit_depth, self.dit_width, self.dit_heads)
        return SIZES.get(self.action_model_type, own)

    @property
    def chunk(self) -> int:
        """Actions of a chunk."""
        return self.future_action_window_size + 1


class _Embedder(nn.Module):
    """A linear layer under the released name."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., out)."""
        out: Tensor = self.linear(x)
        return out


class StepEmbedder(nn.Module):
    """Diffusion steps as sinusoids, cosines first, through two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Linear(SINUSOIDS, width), nn.SiLU(), Linear(width, width))

    def forward(self, step: Tensor) -> Tensor:
        """(B,) -> (B, D)."""
        half = SINUSOIDS // 2
        exponent = torch.arange(half, dtype=torch.float32, device=step.device) / half
        angles = step[:, None].float() * torch.exp(-math.log(LONGEST_PERIOD) * exponent)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        out: Tensor = self.mlp(waves.to(next(self.mlp.parameters()).dtype))
        return out


class ConditionEmbedder(nn.Module):
    """The condition, or a learned vector in its place where it is dropped."""

    def __init__(self, condition_dim: int, width: int) -> None:
        super().__init__()
        self.linear = Linear(condition_dim, width)
        self.uncondition = nn.Parameter(torch.empty(1, condition_dim))

    def forward(self, condition: Tensor, dropped: Tensor | None) -> Tensor:
        """(B, 1, C) and (B,) bool -> (B, 1, D)."""
        if dropped is not None:
            condition = torch.where(dropped[:, None, None], self.uncondition, condition)
        out: Tensor = self.linear(condition)
        return out


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        query, key, value = rearrange(self.qkv(x), "b n (k h d) -> k b h n d", k=3, h=self.heads)
        out = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(rearrange(out, "b h n d -> b n (h d)"))
        return projected


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, MLP_RATIO * width)
        self.fc2 = Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class DiTBlock(nn.Module):
    """Self-attention and feed-forward, each after a norm without parameters."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = _SelfAttention(width, heads)
        self.mlp = _FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.attn(normalised(x))
        out: Tensor = x + self.mlp(normalised(x))
        return out


def normalised(x: Tensor) -> Tensor:
    """Zero mean and unit variance over the last axis."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)


class DiT(nn.Module):
    """Predicts the noise of a chunk of actions from one condition vector."""

    def __init__(self, config: DiTConfig) -> None:
        """With fresh weights; the output layer starts at zero."""
        super().__init__()
        depth, width, heads = config.sizes
        self.chunk, self.action_dim = config.chunk, config.action_dim
        self.history_embedder = _Embedder(config.action_dim, width)  # released, never used
        self.x_embedder = _Embedder(config.action_dim, width)
        self.t_embedder = StepEmbedder(width)
        self.z_embedder = ConditionEmbedder(config.condition_dim, width)
        self.positional_embedding = nn.Parameter(torch.empty(config.chunk + 1, width))
        self.blocks = nn.ModuleList(DiTBlock(width, heads) for _ in range(depth))
        self.final_layer = _Embedder(width, config.action_dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The published initial values."""
        initialise_linears(self)
        nn.init.normal_(self.positional_embedding, std=self.positional_embedding.shape[1] ** -0.5)
        for part in (self.x_embedder, self.z_embedder, self.history_embedder):
            nn.init.normal_(part.linear.weight, std=INITIAL_STD)
        for layer in self.t_embedder.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=INITIAL_STD)
        nn.init.normal_(self.z_embedder.uncondition, std=INITIAL_STD)
        nn.init.zeros_(self.final_layer.linear.weight)

    def forward(
        self, noisy: Tensor, step: Tensor, condition: Tensor, dropped: Tensor | None = None
    ) -> Tensor:
        """The noise in actions.

        Args:
            noisy: (B, H, A) normalised actions with noise.
            step: (B,) int64 diffusion step.
            condition: (B, 1, C).
            dropped: (B,) bool, where the condition is left out; None = nowhere.

        Returns:
            (B, H, A).
        """
        front = self.t_embedder(step)[:, None] + self.z_embedder(condition, dropped)
        tokens = torch.cat([front, self.x_embedder(noisy)], dim=1) + self.positional_embedding
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.final_layer(normalised(tokens))[:, 1:]
        return out

    def predictor(self, condition: Tensor, guidance: float = 1.0) -> PredictNoise:
        """The network with `condition` (B, 1, C) filled in, for a sampler.

        Args:
            condition: (B, 1, C).
            guidance: strength s of classifier-free guidance, eps_u + s (eps_c - eps_u); up to 1
                none is used.
        """
        if guidance <= 1:
            return lambda noisy, step: self(noisy, step, condition)
        batch = len(condition)
        both = torch.cat([condition, condition])
        dropped = torch.arange(2 * batch, device=condition.device) >= batch

        def predict(noisy: Tensor, step: Tensor) -> Tensor:
            noise = self(torch.cat([noisy, noisy]), torch.cat([step, step]), both, dropped)
            with_it, without = noise.chunk(2)
            guided: Tensor = without + guidance * (with_it - without)
            return guided

        return predict
