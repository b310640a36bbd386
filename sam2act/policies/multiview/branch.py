"""One branch of the network (coarse or fine): rendered views -> tokens -> heat maps.

Tokens and heat maps are separate calls, so that a memory can condition the tokens in between.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.nn.multiview_transformer import MultiViewTransformer, Tokenizer
from sam2act.nn.upsampling import CascadedUpsampler, PatchUpsampler
from sam2act.policies.multiview.config import TwoStageConfig
from sam2act.policies.multiview.heads import ActionHead, ActionLogits


class BranchOutput(NamedTuple):
    """What a branch predicts."""

    heatmaps: Tensor  # (B, V, S, S) logits, float32
    action: ActionLogits | None  # fine branch only
    tokens: Tensor | None = None  # (B * V, C, P, P), of the coarse branch
    feature: Tensor | None = None  # (B, 2 * V * C), where something else than bins reads it


def round_to_half(logits: Tensor) -> Tensor:
    """Round to float16 values (quirk N4), keeping dtype and passing gradients straight through."""
    return logits + (logits.half().float() - logits).detach()


def build_upsampler(config: TwoStageConfig) -> CascadedUpsampler | PatchUpsampler:
    """The one that the key `upsampler` names."""
    if config.upsampler == "convex14":
        multiplier = config.upsampler_hidden_multiplier
        return PatchUpsampler(config.token_width, multiplier, config.img_patch_size)
    return CascadedUpsampler(
        config.token_width,
        (config.upsampler_channels[0], config.upsampler_channels[1]),
        config.upsampler_hidden_multiplier,
        scale=(config.img_size / 2) / (4 * config.grid_size),
        channels_last=config.channels_last,
    )


class Branch(nn.Module):
    """Tokenizer, multi-view transformer, upsampler and, in the fine branch, the action head."""

    def __init__(
        self,
        config: TwoStageConfig,
        *,
        feature_channels: int,
        views: int,
        with_head: bool,
    ) -> None:
        super().__init__()
        self.views = views
        self.heatmap_half = config.heatmap_half
        self.tokenizer = Tokenizer(config, feature_channels or None, views)
        self.transformer = MultiViewTransformer(config, views)
        self.upsampler = build_upsampler(config)
        self.head = ActionHead(config, views) if with_head else None

    def tokens(
        self, images: Tensor, pyramid: FeaturePyramid, proprio: Tensor, language: Tensor
    ) -> Tensor:
        """Spatial tokens of every view.

        Args:
            images: (B, V, 10, S, S) rendered views.
            pyramid: image features of the B * V views.
            proprio: (B, 4).
            language: (B, L, lang_dim).

        Returns:
            (B * V, C, P, P).
        """
        features = None if self.tokenizer.fusion is None else pyramid.coarse
        image_tokens = self.tokenizer.image_tokens(images, features, proprio)
        tokens: Tensor = self.transformer(image_tokens, self.tokenizer.language_tokens(language))
        return tokens

    def heatmaps(self, tokens: Tensor, pyramid: FeaturePyramid) -> Tensor:
        """(B * V, C, P, P) tokens -> (B, V, S, S) float32 logits, rounded to float16 values
        where `heatmap_half` asks for it."""
        logits = self.upsampler(tokens, pyramid).unflatten(0, (-1, self.views))
        return round_to_half(logits) if self.heatmap_half else logits
