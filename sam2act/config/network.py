"""The keys of the network, their published defaults and their validity rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from sam2act.config.values import WeightsFile
from sam2act.core.errors import require, require_choice


@dataclass(frozen=True)
class RendererConfig:
    """Virtual-view renderer (`renderer.*`, added)."""

    radius: float = 0.012  # splat radius in cube units
    backend: str = "auto"  # fastest that works on the device; see rendering/backends.py

    def __post_init__(self) -> None:
        require(self.radius > 0, "renderer.radius must be positive")


@dataclass(frozen=True)
class PointsConfig:
    """Subsampling of the cloud before rendering (`data.*`, added)."""

    points: int = 0  # points per cloud, drawn afresh for each sample; 0 = all

    def __post_init__(self) -> None:
        require(self.points >= 0, "data.points must be 0 (all points) or positive")


POSITIVE_NETWORK_KEYS = (
    "depth",
    "img_patch_size",
    "attn_dim",
    "attn_heads",
    "attn_dim_head",
    "num_rot",
    "lora_r",
    "lang_len",
    "lang_dim",
    "num_maskmem",
    "feed_forward_multiplier",
    "upsampler_hidden_multiplier",
)


@dataclass(frozen=True)
class NetworkConfig:
    """The network (`--mvt_cfg_path`, `--mvt_cfg_opts`); defaults are those of the released code.

    Sizes that the released code fixed in its source are keys here (marked "added").
    """

    # Transformer and tokens
    depth: int = 8
    img_size: int = 220
    img_patch_size: int = 11
    add_proprio: bool = True
    proprio_dim: int = 4
    add_lang: bool = True
    lang_dim: int = 512
    lang_len: int = 77
    img_feat_dim: int = 3
    feat_dim: int = 220  # overwritten by 3 * num_rot + 4
    im_channels: int = 64
    attn_dim: int = 512
    attn_heads: int = 8
    attn_dim_head: int = 64
    feed_forward_multiplier: int = 4  # added
    activation: str = "lrelu"
    weight_tie_layers: bool = False
    attn_dropout: float = 0.1
    decoder_dropout: float = 0.0  # released key, unused
    final_dim: int = 64  # released key, unused with cvx_up
    self_cross_ver: int = 1
    # Rendered images
    add_corr: bool = True
    norm_corr: bool = False
    add_pixel_loc: bool = True
    add_depth: bool = True
    rend_three_views: bool = False
    use_point_renderer: bool = False
    pe_fix: bool = True
    renderer: RendererConfig = field(default_factory=RendererConfig)
    data: PointsConfig = field(default_factory=PointsConfig)
    # Decoder and action head
    feat_ver: int = 0
    wpt_img_aug: float = 0.01
    inp_pre_pro: bool = True
    inp_pre_con: bool = True
    cvx_up: bool = False
    upsampler_hidden_multiplier: int = 2  # added
    upsampler_channels: tuple[int, ...] = (64, 32)  # added: after the first and second doubling
    heatmap_half: bool = True  # added: heat maps and their soft-max rounded to fp16
    target_projection: str = "float16"  # added: float16 (with amp only) | float32
    activation_checkpointing: bool = False  # added: recompute layers in the backward pass
    xops: bool = False
    attention_backend: str = "sdpa"  # added: sdpa | xformers
    rot_ver: int = 0
    num_rot: int = 72
    head_hidden: tuple[int, ...] = (256, 128)  # added
    local_feature: str = "inverse_distance"  # added: inverse_distance | bilinear
    # Two stages
    stage_two: bool = False
    st_sca: float = 4.0
    st_wpt_loc_aug: float = 0.05
    st_wpt_loc_inp_no_noise: bool = False
    img_aug_2: float = 0.0  # released key without effect (quirk N1)
    # Image encoder
    ifSAM2: bool = True
    encoder: str = "sam2"  # added: sam2 | tiny_conv
    encoder_trainable: str = "lora"  # added: lora | full | none
    tiny_conv_channels: tuple[int, ...] = (16, 16, 32, 64)  # added
    skip_convs: str = "random_frozen"  # added: + pretrained_frozen, pretrained_trained
    lora_finetune: bool = True
    lora_r: int = 16
    lora_cover: str = "published"  # added: published | full
    ifsep: bool = False
    resize_rgb: bool = True
    sam2_config: str = "configs/sam2.1/sam2.1_hiera_b+.yaml"
    sam2_ckpt: WeightsFile = "sam2.1_hiera_base_plus.pt"
    # Memory (SAM2Act+)
    use_memory: bool = False
    num_maskmem: int = 7  # past keyframes that are remembered
    memory_pos: str = "reference"  # added: reference | consistent
    memory_mask: str = "reference"  # added: reference | centred
    memory_init: str = "reference"  # added: reference | local
    memory_tpos_std: float = 0.02  # added: initial scale of the temporal encoding
    memory_rule: str = "fifo"  # added: fifo | anchor_recent
    memory_dim: int = 64  # added
    memory_layers: int = 4  # added
    memory_hidden: int = 2048  # added
    memory_dropout: float = 0.1  # added
    memory_mask_size: int = 256  # added: side of the mask, a power of two times the grid
    memory_fuser_kernel: int = 7  # added
    memory_checkpointing: bool = False  # added: recompute frames in the backward pass
    frozen_eval: bool = False  # added: frozen parts in evaluation mode during stage 2
    stage_two_freeze_skip_convs: bool = False  # added

    def __post_init__(self) -> None:
        self._check_values()
        self._check_fixed_switches()

    @property
    def grid_size(self) -> int:
        """Patches per side of a rendered view."""
        return self.img_size // self.img_patch_size

    @property
    def token_width(self) -> int:
        """Channels of an image token before attention."""
        return 2 * self.im_channels

    def _check_values(self) -> None:
        for key in POSITIVE_NETWORK_KEYS:
            require(getattr(self, key) >= 1, f"{key} must be at least 1")
        require_choice("activation", self.activation, ("lrelu", "relu"))
        require_choice("self_cross_ver", self.self_cross_ver, (0, 1))
        require_choice("target_projection", self.target_projection, ("float16", "float32"))
        require_choice("attention_backend", self.attention_backend, ("sdpa", "xformers"))
        require_choice("local_feature", self.local_feature, ("inverse_distance", "bilinear"))
        require_choice("memory_pos", self.memory_pos, ("reference", "consistent"))
        require_choice("memory_mask", self.memory_mask, ("reference", "centred"))
        require_choice("memory_init", self.memory_init, ("reference", "local"))
        require_choice("memory_rule", self.memory_rule, ("fifo", "anchor_recent"))
        ratio = self.memory_mask_size // self.grid_size
        require(
            not self.use_memory
            or (ratio * self.grid_size == self.memory_mask_size and ratio & (ratio - 1) == 0),
            f"memory_mask_size {self.memory_mask_size} must be a power of two times the "
            f"{self.grid_size} patches per side (img_size / img_patch_size)",
        )
        require_choice("encoder", self.encoder, ("sam2", "tiny_conv"))
        require_choice("encoder_trainable", self.encoder_trainable, ("lora", "full", "none"))
        require_choice("lora_cover", self.lora_cover, ("published", "full"))
        require_choice(
            "skip_convs",
            self.skip_convs,
            ("random_frozen", "pretrained_frozen", "pretrained_trained"),
        )
        require(
            self.img_size % self.img_patch_size == 0,
            f"img_size {self.img_size} must be a multiple of img_patch_size {self.img_patch_size}",
        )
        require(
            self.im_channels % 16 == 0,
            "im_channels must be a multiple of 16 (3/8, 3/8 and 1/4 of twice its value are the "
            "encoder, patch and proprioception channels, in groups of 4)",
        )
        require(len(self.upsampler_channels) == 2, "upsampler_channels needs two values")
        require(len(self.head_hidden) == 2, "head_hidden needs two values")
        require(len(self.tiny_conv_channels) == 4, "tiny_conv_channels needs four values")
        require(
            self.encoder == "sam2" or self.encoder_trainable != "lora",
            "encoder: tiny_conv has no pretrained weights to adapt; "
            "set encoder_trainable: full (or none)",
        )
        require(
            self.encoder_trainable != "lora" or self.lora_finetune,
            "lora_finetune: False contradicts encoder_trainable: lora; set encoder_trainable to "
            "full or none",
        )
        require(
            self.encoder_trainable != "full" or not self.lora_finetune,
            "encoder_trainable: full trains the encoder itself; set lora_finetune: False, so that "
            "no adapters are inserted beside it",
        )

    def _check_fixed_switches(self) -> None:
        """Switches of the released code whose other value could not run there either."""
        fixed = {
            "add_proprio": True,
            "add_lang": True,
            "add_corr": True,
            "add_pixel_loc": True,
            "add_depth": True,
            "pe_fix": True,
            "cvx_up": True,
            "inp_pre_pro": False,
            "inp_pre_con": False,
            "ifSAM2": True,
            "ifsep": False,
            "resize_rgb": True,
            "feat_ver": 1,
            "rot_ver": 1,
            "stage_two": True,
            "weight_tie_layers": False,
        }
        wrong = {key: value for key, value in fixed.items() if getattr(self, key) != value}
        require(
            not wrong,
            "this network supports only "
            + ", ".join(f"{key}: {value}" for key, value in wrong.items())
            + "; start from configs/mvt/sam2act.yaml, which sets them",
        )
        require(
            self.use_point_renderer or not self.rend_three_views,
            "use_point_renderer: False names PyTorch3D's renderer, which no SAM2Act checkpoint "
            "uses and which, as published, cannot draw three views; set it to True",
        )
