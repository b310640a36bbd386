"""Rendered views, image features, proprioception and language -> spatial tokens of every view.

Legend: B batch, V view, M = B * V, P tokens per side, T = V * P * P image tokens, L language
tokens, C token width (2 * im_channels), D attention width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require, require_choice, require_positive
from sam2act.nn.attention import Attention, GatedFeedForward, TransformerLayer
from sam2act.nn.image_encoder import LEAKY_SLOPE
from sam2act.nn.linear import Linear
from sam2act.nn.recomputation import RecomputationConfig

IMAGE_CHANNELS = 10  # xyz, rgb, depth, view index, row, column
NORM_GROUPS = 4


@dataclass(frozen=True)
class TokenConfig(ComponentConfig):
    """The rendered views, and the tokens that are made of them, the state and the language."""

    img_size: int = 220
    img_patch_size: int = 11
    im_channels: int = 64
    proprio_dim: int = 4
    lang_dim: int = 512
    lang_len: int = 77
    activation: str = "lrelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "img_patch_size", "lang_dim", "lang_len")
        require_choice("activation", self.activation, ("lrelu", "relu"))
        require(
            self.img_size % self.img_patch_size == 0,
            f"img_size {self.img_size} must be a multiple of img_patch_size {self.img_patch_size}",
        )
        if self.encodes_colors:
            require(
                self.im_channels % 16 == 0,
                "im_channels must be a multiple of 16 (3/8, 3/8 and 1/4 of twice its value are the "
                "encoder, patch and proprioception channels, in groups of 4)",
            )
        else:
            require(
                self.im_channels % NORM_GROUPS == 0,
                f"im_channels must be a multiple of {NORM_GROUPS} (the patch and proprioception "
                f"channels, in groups of {NORM_GROUPS})",
            )

    @property
    def encodes_colors(self) -> bool:
        """Whether tokens hold features of an image encoder."""
        return True

    @property
    def grid_size(self) -> int:
        """Patches per side of a rendered view."""
        return self.img_size // self.img_patch_size

    @property
    def token_width(self) -> int:
        """Channels of an image token before attention."""
        return 2 * self.im_channels

    @property
    def token_parts(self) -> tuple[int, int, int]:
        """Channels of encoder features, patches and proprioception in an image token."""
        width = self.token_width
        return (
            (3 * width // 8, 3 * width // 8, width // 4)
            if self.encodes_colors
            else (
                0,
                width // 2,
                width // 2,
            )
        )


@dataclass(frozen=True)
class TransformerConfig(TokenConfig, RecomputationConfig):
    """The layers over the tokens of all views."""

    depth: int = 8
    attn_dim: int = 512
    attn_heads: int = 8
    attn_dim_head: int = 64
    feed_forward_multiplier: int = 4  # added
    attn_dropout: float = 0.1
    attention_backend: str = "sdpa"  # added: sdpa | xformers
    self_cross_ver: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(
            self, "depth", "attn_dim", "attn_heads", "attn_dim_head", "feed_forward_multiplier"
        )
        require_choice("self_cross_ver", self.self_cross_ver, (0, 1))
        require_choice("attention_backend", self.attention_backend, ("sdpa", "xformers"))


def activation(name: str) -> nn.Module:
    """The network's non-linearity by its config name."""
    return nn.LeakyReLU(LEAKY_SLOPE) if name == "lrelu" else nn.ReLU()


class Tokenizer(nn.Module):
    """Builds image tokens [encoder features, patches, proprioception] and language tokens."""

    def __init__(
        self,
        config: TokenConfig,
        feature_channels: int | None,
        views: int,
        *,
        image_channels: int = IMAGE_CHANNELS,
    ) -> None:
        """`feature_channels` are those of the image encoder (None = there is none),
        `image_channels` those that patches are made of."""
        super().__init__()
        width, grid = config.token_width, config.grid_size
        features, patches, proprio = config.token_parts
        self.activation = activation(config.activation)
        self.fusion = None if feature_channels is None else nn.Conv2d(feature_channels, features, 1)
        self.patch_projection = nn.Conv2d(
            image_channels, patches, config.img_patch_size, config.img_patch_size
        )
        self.patch_norm = nn.GroupNorm(NORM_GROUPS, patches)
        self.proprio_projection = Linear(config.proprio_dim, proprio)
        self.proprio_norm = nn.GroupNorm(NORM_GROUPS, proprio)
        self.language_projection = Linear(config.lang_dim, width)
        self.language_norm = nn.GroupNorm(NORM_GROUPS, width)
        self.position_encoding = nn.Parameter(torch.randn(1, views * grid * grid, width))
        self._initialise()

    def _initialise(self) -> None:
        for layer in (
            self.fusion,
            self.patch_projection,
            self.proprio_projection,
            self.language_projection,
        ):
            if layer is not None:
                nn.init.kaiming_uniform_(layer.weight, a=LEAKY_SLOPE, nonlinearity="leaky_relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def image_tokens(self, images: Tensor, features: Tensor | None, proprio: Tensor) -> Tensor:
        """Tokens in the order view, row, column.

        Args:
            images: (B, V, 10, S, S) rendered views, or what was made of them.
            features: (M, C2, P, P) coarse level of the image encoder; None without one.
            proprio: (B, 4).

        Returns:
            (B, T, C).
        """
        batch, views = images.shape[:2]
        patches = self.embed_patches(images.flatten(0, 1))
        grid = patches.shape[-1]
        state = repeat(self.embed_proprio(proprio), "b c -> (b v) c h w", v=views, h=grid, w=grid)
        parts = (
            [patches, state]
            if features is None
            else [self.embed_features(features), patches, state]
        )
        tokens = rearrange(torch.cat(parts, dim=1), "(b v) c h w -> b (v h w) c", b=batch)
        return tokens + self.position_encoding

    def language_tokens(self, language: Tensor) -> Tensor:
        """(B, L, lang_dim) -> (B, L, C); GroupNorm per token."""
        tokens = self.language_projection(language).flatten(0, 1)
        tokens = self.activation(self.language_norm(tokens))
        return tokens.unflatten(0, language.shape[:2])

    def embed_features(self, features: Tensor) -> Tensor:
        """(M, C2, P, P) -> (M, 3C/8, P, P)."""
        assert self.fusion is not None, "these tokens hold no features of an encoder"
        return self.activation(self.fusion(features))

    def embed_patches(self, images: Tensor) -> Tensor:
        """(M, 10, S, S) -> (M, C', P, P) with C' as in `TokenConfig.token_parts`."""
        return self.activation(self.patch_norm(self.patch_projection(images)))

    def embed_proprio(self, proprio: Tensor) -> Tensor:
        """(B, 4) -> (B, C')."""
        return self.activation(self.proprio_norm(self.proprio_projection(proprio)))


class MultiViewTransformer(nn.Module):
    """First half of the layers within each view, second half over all views and the language.

    Paper section IV-A; layer structure of RVT-2. With `self_cross_ver` 0 all layers are joint.
    """

    def __init__(self, config: TransformerConfig, views: int) -> None:
        super().__init__()
        width = config.attn_dim
        self.views = views
        self.input_projection = Linear(config.token_width, width)
        self.output_projection = Linear(width, config.token_width)
        for layer in (self.input_projection, self.output_projection):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(self._build_layer(config) for _ in range(config.depth))
        self.checkpointing = config.activation_checkpointing
        self.within_view_layers = config.depth // 2 if config.self_cross_ver == 1 else 0

    @staticmethod
    def _build_layer(config: TransformerConfig) -> TransformerLayer:
        attention = Attention(
            config.attn_dim,
            config.attn_heads,
            config.attn_dim_head,
            config.attn_dropout,
            config.attention_backend,
        )
        return TransformerLayer(
            attention, GatedFeedForward(config.attn_dim, config.feed_forward_multiplier)
        )

    def forward(self, image_tokens: Tensor, language_tokens: Tensor) -> Tensor:
        """(B, T, C) image and (B, L, C) language tokens -> (M, C, P, P)."""
        length = language_tokens.shape[1]
        tokens_BND = self.input_projection(torch.cat([language_tokens, image_tokens], dim=1))
        language_BLD, image_BTD = tokens_BND[:, :length], tokens_BND[:, length:]
        image_MND = rearrange(image_BTD, "b (v n) d -> (b v) n d", v=self.views)
        for layer in self.layers[: self.within_view_layers]:
            image_MND = self._run(layer, image_MND)
        image_BTD = rearrange(image_MND, "(b v) n d -> b (v n) d", v=self.views)
        tokens_BND = torch.cat([language_BLD, image_BTD], dim=1)
        for layer in self.layers[self.within_view_layers :]:
            tokens_BND = self._run(layer, tokens_BND)
        out_BTC = self.output_projection(tokens_BND[:, length:])
        grid = round((out_BTC.shape[1] / self.views) ** 0.5)
        return rearrange(out_BTC, "b (v h w) c -> (b v) c h w", v=self.views, h=grid)

    def _run(self, layer: nn.Module, tokens_BND: Tensor) -> Tensor:
        """One layer, recomputed in the backward pass with `activation_checkpointing`."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, tokens_BND, use_reentrant=False)
        return layer(tokens_BND)
