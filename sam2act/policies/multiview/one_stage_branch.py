"""The branch of networks without a zoom: images -> heat maps and action scores in one pass.

Legend: B batch, V view, M = B * V, C token width, P tokens per side, S side of a rendered view, H
steps of a sequence (1 for a single keyframe), F channels of a feature map, K rotation bins per
axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from sam2act.core.errors import require, require_positive
from sam2act.nn.bilinear_decoder import BilinearDecoder, DecodedMaps
from sam2act.nn.image_encoder import LEAKY_SLOPE
from sam2act.nn.linear import Linear
from sam2act.nn.multiview_transformer import (
    IMAGE_CHANNELS,
    MultiViewTransformer,
    Tokenizer,
    TransformerConfig,
    activation,
)
from sam2act.policies.multiview.heads import ActionLogits

GRIPPER_STATES, COLLISION_STATES = 2, 2


@dataclass(frozen=True)
class OneStageBranchConfig(TransformerConfig):
    """The bilinear decoder and the head that pools its maps."""

    num_rot: int = 72
    final_dim: int = 64
    decoder_kernel: int = 0  # added: side of the decoder's convolutions; 0 = img_patch_size

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "num_rot", "final_dim")
        require(
            self.decoder_kernel >= 0 and self.kernel % 2 == 1,
            f"the decoder's convolutions need an odd side, not {self.kernel}; set decoder_kernel "
            "or another img_patch_size",
        )

    @property
    def kernel(self) -> int:
        """Side of the decoder's convolutions."""
        return self.decoder_kernel or self.img_patch_size

    @property
    def preprocesses_images(self) -> bool:
        """Whether patches and the decoder's skip are made of preprocessed images."""
        return True

    @property
    def steps(self) -> int:
        """Keyframes that are predicted at once."""
        return 1


class BranchMaps(NamedTuple):
    """What the branch predicts of every step."""

    heatmaps: Tensor  # (B, V, H, S, S) logits
    scores: Tensor  # (B, H, 3 K + 4)


def action_logits(scores: Tensor) -> ActionLogits:
    """Scores (B, 3 K + 4) of one step by part: rotation x, y, z, gripper, collision flag."""
    rotation, gripper, collision = scores.split(
        [scores.shape[-1] - GRIPPER_STATES - COLLISION_STATES, GRIPPER_STATES, COLLISION_STATES],
        dim=-1,
    )
    return ActionLogits(rotation.unflatten(-1, (3, -1)), gripper, collision)


class PooledHead(nn.Module):
    """Action scores from features of the whole views; rotation axes are independent."""

    def __init__(self, config: OneStageBranchConfig, views: int) -> None:
        super().__init__()
        self.views = views
        width = config.token_width + config.final_dim
        self.layers = nn.Sequential(
            Linear(views * width, width),
            nn.ReLU(),
            Linear(width, width // 2),
            nn.ReLU(),
            Linear(width // 2, 3 * config.num_rot + GRIPPER_STATES + COLLISION_STATES),
        )

    def forward(self, tokens: Tensor, maps: DecodedMaps) -> Tensor:
        """(M, C, P, P) tokens and maps of every step -> (B, H, 3 K + 4)."""
        scores: Tensor = self.layers(self.features(tokens, maps))
        return scores

    def features(self, tokens: Tensor, maps: DecodedMaps) -> Tensor:
        """Largest tokens and features where the heat maps are, of every view: (B, H, V (C + F)).

        The two parts are flattened in opposite orders, (c, v) and (v, c) (quirk N7). The heat maps
        get no gradient from here.
        """
        steps = maps.heatmaps.shape[1]
        overall = reduce(tokens, "(b v) c h w -> b (c v)", "max", v=self.views)
        where = maps.heatmaps.detach().flatten(2).softmax(-1)  # (M, H, S * S)
        local = (maps.features.flatten(3) @ where[..., None]).squeeze(-1)  # (M, H, F)
        local = rearrange(local, "(b v) s c -> b s (v c)", v=self.views)
        return torch.cat([overall[:, None].expand(-1, steps, -1), local], dim=-1)


class OneStageBranch(nn.Module):
    """Tokens, multi-view transformer, bilinear decoder and pooled head."""

    def __init__(
        self, config: OneStageBranchConfig, *, views: int, feature_channels: int | None = None
    ) -> None:
        """`feature_channels` are those of the image encoder's coarse level; None without one."""
        super().__init__()
        self.views = views
        self.preprocess: nn.Conv2d | None = None
        channels = IMAGE_CHANNELS
        if config.preprocesses_images:
            channels = config.im_channels
            self.preprocess = nn.Conv2d(IMAGE_CHANNELS, channels, kernel_size=1)
            weight, bias = self.preprocess.weight, self.preprocess.bias
            nn.init.kaiming_uniform_(weight, a=LEAKY_SLOPE, nonlinearity="leaky_relu")
            assert bias is not None
            nn.init.zeros_(bias)
        self.activation = activation(config.activation)
        self.tokenizer = Tokenizer(config, feature_channels, views, image_channels=channels)
        self.transformer = MultiViewTransformer(config, views)
        self.decoder = BilinearDecoder(
            *(config.token_width, config.im_channels, channels, config.final_dim),
            patch=config.img_patch_size,
            kernel=config.kernel,
            steps=config.steps,
        )
        self.head = PooledHead(config, views)

    def forward(
        self, images: Tensor, features: Tensor | None, proprio: Tensor, language: Tensor
    ) -> BranchMaps:
        """Predict every step.

        Args:
            images: (B, V, 10, S, S) rendered views.
            features: (M, C2, P, P) of the image encoder; None without one.
            proprio: (B, 4).
            language: (B, L, lang_dim).
        """
        if self.preprocess is not None:
            images = self.activation(self.preprocess(images.flatten(0, 1)))
            images = images.unflatten(0, (-1, self.views))
        image_tokens = self.tokenizer.image_tokens(images, features, proprio)
        tokens = self.transformer(image_tokens, self.tokenizer.language_tokens(language))
        maps: DecodedMaps = self.decoder(tokens, images.flatten(0, 1))
        scores = self.head(tokens, maps)
        return BranchMaps(maps.heatmaps.unflatten(0, (-1, self.views)), scores)
