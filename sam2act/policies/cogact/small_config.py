"""The keys of CogACT's small backbone."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.config.component import ComponentConfig, WeightsFile
from sam2act.core.errors import require, require_choice, require_positive
from sam2act.nn.encoders.efficientnet_lite import LITE_SIZES, TOKEN_STRIDE


@dataclass(frozen=True)
class SmallBackboneConfig(ComponentConfig):
    """Keys of the small backbone alone."""

    encoder_variant: str = "lite0"  # lite0 | tiny (for tests)
    encoder_ckpt: WeightsFile = ""  # its weights; empty = the pip package's; or random
    encoder_trainable: str = "none"  # none | full: whether the image encoder is trained
    fusion_depth: int = 2
    fusion_heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("encoder_variant", self.encoder_variant, tuple(LITE_SIZES))
        require_choice("encoder_trainable", self.encoder_trainable, ("none", "full"))
        require_positive(self, "fusion_depth", "fusion_heads")

    def check_small(self, image_side: int, width: int) -> None:
        """What must hold between keys where this backbone is chosen.

        Raises:
            ConfigError: it does not.
        """
        require(
            image_side % TOKEN_STRIDE == 0,
            f"image_side: {image_side}, but backbone: small takes multiples of {TOKEN_STRIDE}; set "
            f"it to {max(1, round(image_side / TOKEN_STRIDE)) * TOKEN_STRIDE}",
        )
        require(
            width % self.fusion_heads == 0,
            f"backbone_width {width} must be a multiple of fusion_heads, which is "
            f"{self.fusion_heads}",
        )
