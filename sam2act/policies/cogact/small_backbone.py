"""A backbone of pretrained parts that pip brings.

Maps of EfficientNet-Lite0 and tokens of the instruction are fused by a small transformer with one
cognition token.

Legend: B samples, K cameras, P map places per side, L language tokens, D width of the transformer,
C width of the feature.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.core.specs import PolicySpec
from sam2act.nn.encoders.efficientnet_lite import (
    LITE_SIZES,
    TOKEN_STRIDE,
    EfficientNetLiteEncoder,
)
from sam2act.nn.encoders.kinds import RANDOM, efficientnet_weights
from sam2act.nn.linear import Linear
from sam2act.policies.cogact.backbone import STATE_NUMBERS, state_features
from sam2act.policies.cogact.small_config import SmallBackboneConfig

KEY = "encoder_ckpt"
MLP_RATIO = 4
INITIAL_STD = 0.02


class FusionLayer(nn.Module):
    """Self-attention and feed-forward, each after its norm and with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        hidden = MLP_RATIO * width
        self.feed_forward = nn.Sequential(Linear(width, hidden), nn.GELU(), Linear(hidden, width))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, N, D) and (B, 1, 1, N) bool, False on padding -> (B, N, D)."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.movedim(2, 0).transpose(2, 3)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return out


class SmallBackbone(nn.Module):
    """One token per place of the coarse map of each camera, per piece of the instruction and, if it
    is seen, for the robot's state; what the cognition token holds in the end is the feature.

    A place holds the features of stride 16 and the four of stride 8 that lie in it.
    """

    def __init__(
        self,
        keys: SmallBackboneConfig,
        spec: PolicySpec,
        *,
        width: int,
        condition_dim: int,
        sees_state: bool,
        pretrained: bool,
    ) -> None:
        """With fresh weights but for the image encoder.

        Args:
            keys: of this backbone.
            spec: cameras and language.
            width: D.
            condition_dim: C.
            sees_state: the gripper's pose and opening are a token.
            pretrained: read the weights of the image encoder, unless they are `random`.

        Raises:
            ConfigError: their file or package is absent, or does not fit.
        """
        super().__init__()
        assert spec.language is not None
        self.encoder = EfficientNetLiteEncoder(LITE_SIZES[keys.encoder_variant])
        if pretrained and keys.encoder_ckpt != RANDOM:
            self.encoder.load_pretrained(KEY, efficientnet_weights(keys.encoder_ckpt))
        self.encoder.requires_grad_(keys.encoder_trainable == "full")
        _, middle, coarse = self.encoder.channels
        cameras, side = len(spec.camera_specs), spec.camera_specs[0].height // TOKEN_STRIDE
        features = 4 * middle + coarse
        self.see = nn.Sequential(nn.LayerNorm(features), Linear(features, width))
        self.read = nn.Sequential(
            nn.LayerNorm(spec.language.width), Linear(spec.language.width, width)
        )
        self.feel = Linear(STATE_NUMBERS, width) if sees_state else None
        self.cognition = nn.Parameter(INITIAL_STD * torch.randn(1, width))
        self.map_places = nn.Parameter(INITIAL_STD * torch.randn(cameras * side**2, width))
        self.text_places = nn.Parameter(INITIAL_STD * torch.randn(spec.language.length, width))
        self.layers = nn.ModuleList(
            FusionLayer(width, keys.fusion_heads) for _ in range(keys.fusion_depth)
        )
        self.norm = nn.LayerNorm(width)
        self.out = Linear(width, condition_dim)

    def forward(self, images: Tensor, state: Tensor, language: Tensor) -> Tensor:
        """The cognition feature.

        Args:
            images: (B, K, 16 P, 16 P, 3) uint8.
            state: (B, 8) pose of the gripper and 1 = open.
            language: (B, L, width of the text encoder); tokens of zeros say nothing.

        Returns:
            (B, 1, C).
        """
        batch = len(images)
        parts = [self.cognition.expand(batch, 1, -1)]
        if self.feel is not None:
            parts.append(self.feel(state_features(state))[:, None])
        parts += [self.see(self.maps(images)) + self.map_places]
        always = sum(part.shape[1] for part in parts)
        tokens = torch.cat([*parts, self.read(language) + self.text_places], dim=1)
        seen = torch.cat([language.new_ones(batch, always).bool(), language.any(-1)], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, seen[:, None, None])
        feature: Tensor = self.out(self.norm(tokens[:, :1]))
        return feature

    def maps(self, images: Tensor) -> Tensor:
        """(B, K, 16 P, 16 P, 3) uint8 -> (B, K * P * P, features), by camera, row and column."""
        rgb = images.flatten(0, 1).movedim(-1, 1).float() / 255
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encoder_is_trained):
            _, middle, coarse = self.encoder(rgb)
        joined = torch.cat([F.pixel_unshuffle(middle, 2), coarse], dim=1)
        tokens: Tensor = joined.flatten(2).mT.unflatten(0, images.shape[:2])
        return tokens.flatten(1, 2)

    @property
    def encoder_is_trained(self) -> bool:
        """Whether the image encoder gets gradients."""
        return next(self.encoder.parameters()).requires_grad
