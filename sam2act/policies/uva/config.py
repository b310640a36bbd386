"""The keys of UVA; names and values are the published ones where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sam2act.config.component import ComponentConfig, NameList, WeightsFile
from sam2act.core.errors import require, require_choice, require_positive

HISTORY, FRAMES, ACTIONS = 16, 4, 16  # steps seen; frames shown of them and of the future; a chunk
TEXT_WIDTH = 512
VIDEO, DYNAMIC, ACT, INVERSE, FULL = MODES = (
    "video_model",
    "dynamic_model",
    "policy_model",
    "inverse_model",
    "full_dynamic_model",
)
POOLINGS = ("conv_fc", "conv_ori", "conv2", "fc2")
AUTOENCODERS = ("kl16", "small")
KL16_FORM = (16, 16)  # pixels per latent, channels
TRAINED = ("model", "vae")
CONTROLS = ("raw", "ee_delta", "ee_pose", "ee_pose_6d")


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
    text_tokens: int = 64  # places that it takes
    label_drop_prob: float = 0.1  # how often it is left out in training
    attn_dropout: float = 0.1
    proj_dropout: float = 0.1
    diffloss_d: int = 6  # blocks and width of the head of the video
    diffloss_w: int = 1024
    act_diffloss_d: int = 6  # the same of the actions
    act_diffloss_w: int = 1024
    act_model_type: str = "conv_fc"  # how tokens become one feature per action
    proprioception: NameList = ""  # parts of the state and their numbers: robot0_eef_pos:3,...
    use_proprioception: bool = False  # the state at the frames seen joins the tokens
    predict_proprioception: bool = False  # a head learns the state at the frames to come
    predicted_proprioception: NameList = ""  # parts of that; "" = all of the ones above

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("autoregressive_model", self.autoregressive_model, (*SIZES, "custom"))
        require_choice("act_model_type", self.act_model_type, POOLINGS)
        require_positive(self, "encoder_embed_dim", "encoder_depth", "decoder_depth", "num_heads")
        require_positive(self, "vae_embed_dim", "latent_side", "patch_size", "action_dim")
        require_positive(self, "text_tokens")
        for head in ("diffloss", "act_diffloss"):
            require_positive(self, f"{head}_d", f"{head}_w")
        state = self.state
        for key in ("use_proprioception", "predict_proprioception"):
            require(
                not getattr(self, key) or bool(state),
                f"{key}: needs the parts of the state: proprioception robot0_eef_pos:3,...",
            )
        for name in self.predicted:
            require_choice("predicted_proprioception", name, tuple(state))
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
    def state(self) -> dict[str, int]:
        """Part of the state -> how many numbers it has.

        Raises:
            ConfigError: the key proprioception has another form.
        """
        pairs = [text.partition(":") for text in self.proprioception.split(",") if text]
        for name, _, size in pairs:
            require(
                bool(name) and size.isdecimal() and int(size) > 0,
                f"proprioception: {name}:{size} must be a name and a number, robot0_eef_pos:3",
            )
        return {name: int(size) for name, _, size in pairs}

    @property
    def predicted(self) -> tuple[str, ...]:
        """The parts of the state that are predicted."""
        if not self.predict_proprioception:
            return ()
        named = tuple(name for name in self.predicted_proprioception.split(",") if name)
        return named or tuple(self.state)

    @property
    def predicted_columns(self) -> list[int]:
        """Their places among the numbers of the state."""
        owners = [name for name, size in self.state.items() for _ in range(size)]
        return [place for place, name in enumerate(owners) if name in self.predicted]

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


@dataclass(frozen=True)
class UVAConfig(TransformerConfig):
    """The network (`--mvt_cfg_path`, `--mvt_cfg_opts`)."""

    policy: str = "uva"
    trains: str = "model"  # model | vae (the small autoencoder)
    control: str = "raw"  # raw | ee_delta | ee_pose | ee_pose_6d
    action_rate: float = 10.0  # Hz, of actions of mode raw or ee_pose_6d
    image_side: int = 256  # to which pictures are resized
    vae: str = "kl16"  # kl16 (published) | small
    vae_weights: WeightsFile = ""  # of the autoencoder alone
    kl_weight: float = 0.01  # of the small autoencoder, against the squared error of a pixel
    cache_latents: bool = False  # keep what the frozen autoencoder says of a picture
    pretrained_model_path: WeightsFile = ""  # tensors whose name and shape match are taken
    predict_action: bool = True
    # Of MODES; "" = all, or without actions video_model. One named twice comes twice as often.
    selected_training_mode: NameList = ""
    mode_sampling: str = "per_rank"  # per_rank (published) | shared: who draws the mode of a step
    mask_ratio_min: float = 0.7
    mask_ratio_std: float = 0.25
    different_history_freq: bool = False  # any frames of the history in training
    shift_action: bool = True  # the action taken at the last frame seen is the first one predicted
    pad_before: int = 1  # steps that a window may begin before an episode
    pad_after: int = 7  # and end behind it
    n_action_steps: int = 8  # that are executed before the next prediction
    temperature: float = 0.95
    act_diff_testing_steps: int = 100
    num_sampling_steps: int = 100  # of the video
    num_iter: int = 1  # in which the tokens of the video are filled in

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("trains", self.trains, TRAINED)
        require_choice("control", self.control, CONTROLS)
        require_choice("vae", self.vae, AUTOENCODERS)
        require_choice("mode_sampling", self.mode_sampling, ("per_rank", "shared"))
        for mode in self.modes:
            require_choice("selected_training_mode", mode, MODES)
            require(
                self.predict_action or mode in (VIDEO, DYNAMIC, FULL),
                f"selected_training_mode: {mode} trains actions, but predict_action is False",
            )
        require(
            self.image_side % self.latent_side == 0,
            f"image_side {self.image_side} must be a multiple of latent_side {self.latent_side}",
        )
        require(
            self.vae != "kl16"
            or (self.image_side // self.latent_side, self.vae_embed_dim) == KL16_FORM,
            "vae: kl16 has 16 pixels per latent and 16 channels: set latent_side to a sixteenth of "
            "image_side and vae_embed_dim to 16",
        )
        require(
            self.trains == "model" or self.vae == "small",
            "trains: vae is possible with vae: small only; kl16 stays as it is",
        )
        require(0 < self.mask_ratio_min < 1, "mask_ratio_min must be between 0 and 1")
        require(self.mask_ratio_std > 0, "mask_ratio_std must be positive")
        require(self.action_rate > 0, "action_rate must be positive")
        require(self.kl_weight >= 0, "kl_weight must not be negative")
        require(0 <= self.pad_before < HISTORY, f"pad_before must be from 0 to {HISTORY - 1}")
        require(0 <= self.pad_after <= HISTORY, f"pad_after must be from 0 to {HISTORY}")
        require(0 < self.n_action_steps <= ACTIONS, f"n_action_steps must be from 1 to {ACTIONS}")
        require_positive(self, "act_diff_testing_steps", "num_sampling_steps", "num_iter")
        require_positive(self, "image_side")

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes of which each step draws one."""
        named = tuple(name for name in self.selected_training_mode.split(",") if name)
        return named or (MODES if self.predict_action else (VIDEO,))
