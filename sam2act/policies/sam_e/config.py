"""The configuration of SAM-E."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.config.component import WeightsFile
from sam2act.core.errors import require, require_positive
from sam2act.nn.image_encoder import ImageEncoderConfig
from sam2act.policies.multiview.one_stage import OneStageConfig
from sam2act.policies.multiview.released_keys import OneStageSwitches, fixed


@dataclass(frozen=True)
class SamEConfig(OneStageSwitches, ImageEncoderConfig, OneStageConfig):
    """The network (`--mvt_cfg_path`, `--mvt_cfg_opts`).

    configs/mvt/sam_e.yaml is the published one.
    """

    policy: str = "sam_e"
    ah: int = 5  # keyframes that are predicted at once
    execute_horizon: int = 0  # added: of these, how many are executed; 0 = all
    encoder: str = "sam_vit_b"
    encoder_ckpt: WeightsFile = "sam_vit_b_01ec64.pth"  # random: as the released training did
    multires_inputs: bool = False
    lora_r: int = 4
    ifSAM: bool = fixed(True)
    ifsep: bool = fixed(False)
    resize_rgb: bool = fixed(True)
    # Keys of the released code without effect: images are never preprocessed, and join the decoder.
    inp_pre_pro: bool = False
    inp_pre_con: bool = True
    fusion_up: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "feat_dim", 3 * self.num_rot + 4)
        require_positive(self, "ah")
        require(
            0 <= self.execute_horizon <= self.ah,
            f"execute_horizon: {self.execute_horizon} must be between 1 and ah, which is "
            f"{self.ah}; 0 means all",
        )
        require(self.encodes_colors, "encoder: none has no features; for RVT use policy: rvt")

    @property
    def encodes_colors(self) -> bool:
        """Whether there is an image encoder."""
        return self.encoder != "none"

    @property
    def preprocesses_images(self) -> bool:
        """Patches and the decoder's skip are made of the rendered images themselves."""
        return False

    @property
    def kernel(self) -> int:
        """Side of the decoder's convolutions: the next odd number below that of a patch."""
        return self.decoder_kernel or self.img_patch_size - 1 - self.img_patch_size % 2

    @property
    def steps(self) -> int:
        """Keyframes that are predicted at once."""
        return self.ah

    @property
    def executed(self) -> int:
        """Keyframes that are executed before the next prediction."""
        return self.execute_horizon or self.ah
