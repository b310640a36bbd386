"""The keys of UVA; names and values are the published ones where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require, require_choice, require_positive

HISTORY, FRAMES, ACTIONS = 16, 4, 16  # steps seen; frames shown of them and of the future; a chunk
TEXT_TOKENS, TEXT_WIDTH = 64, 512
VIDEO, DYNAMIC, ACT, INVERSE, FULL = MODES = (
    "video_model",
    "dynamic_model",
    "policy_model",
    "inverse_model",
    "full_dynamic_model",
)
POOLINGS = ("conv_fc", "conv_ori", "conv2", "fc2")
AUTOENCODERS = ("kl16", "small")
TRAINED = ("model", "vae")


class Size(NamedTuple):
    """Width, blocks before and behind the middle, heads of the transformer."""

    width: int
    encoder_depth: int
    decoder_depth: int
    heads: int


SIZES = {
    "mar_tiny": Size(768, 3, 3, 6),
    "mar_small": Size(768, 6, 6, 6),
    "mar_base": Size(768, 12, 12, 12),
    "mar_large": Size(1024, 16, 16, 16),
    "mar_huge": Size(1280, 20, 20, 16),
}


@dataclass(frozen=True)
class TransformerConfig(ComponentConfig):
    """Sizes of the transformer and its heads; `custom` takes the four keys below it."""

    autoregressive_model: str = "mar_base"  # see SIZES | custom
    encoder_embed_dim: int = 64
    encoder_depth: int = 2
    decoder_depth: int = 2
    num_heads: int = 4
    vae_embed_dim: int = 16  # channels of the latents
    latent_side: int = 16  # rows and columns of the latents of a frame
    patch_size: int = 1  # latents per side that make a token
    action_dim: int = 2
    use_language: bool = False  # a sentence feature in front of the tokens
    label_drop_prob: float = 0.1  # how often it is left out in training
    attn_dropout: float = 0.1
    proj_dropout: float = 0.1
    diffloss_d: int = 6  # blocks and width of the head of the video
    diffloss_w: int = 1024
    act_diffloss_d: int = 6  # the same of the actions
    act_diffloss_w: int = 1024
    act_model_type: str = "conv_fc"  # how tokens become one feature per action

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("autoregressive_model", self.autoregressive_model, (*SIZES, "custom"))
        require_choice("act_model_type", self.act_model_type, POOLINGS)
        require_positive(self, "encoder_embed_dim", "encoder_depth", "decoder_depth", "num_heads")
        require_positive(self, "vae_embed_dim", "latent_side", "patch_size", "action_dim")
        for head in ("diffloss", "act_diffloss"):
            require_positive(self, f"{head}_d", f"{head}_w")
        width, _, _, heads = self.size
        require(
            width % heads == 0, f"encoder_embed_dim {width} must be a multiple of num_heads {heads}"
        )
        require(
            self.latent_side % self.patch_size == 0,
            f"latent_side {self.latent_side} must be a multiple of patch_size {self.patch_size}",
        )
        require(
            FRAMES * self.frame_tokens % ACTIONS == 0,
            f"latent_side {self.latent_side} and patch_size {self.patch_size} give "
            f"{FRAMES * self.frame_tokens} tokens, which must be a multiple of {ACTIONS}",
        )
        for key in ("label_drop_prob", "attn_dropout", "proj_dropout"):
            require(0 <= getattr(self, key) < 1, f"{key} must be from 0 to below 1")

    @property
    def size(self) -> Size:
        """Of the transformer."""
        own = (self.encoder_embed_dim, self.encoder_depth, self.decoder_depth, self.num_heads)
        return SIZES.get(self.autoregressive_model, Size(*own))

    @property
    def grid(self) -> int:
        """Rows and columns of the tokens of a frame."""
        return self.latent_side // self.patch_size

    @property
    def frame_tokens(self) -> int:
        """Tokens of a frame."""
        return self.grid**2

    @property
    def token_channels(self) -> int:
        """Numbers of a token."""
        return self.vae_embed_dim * self.patch_size**2
