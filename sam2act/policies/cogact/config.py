"""The keys of CogACT."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.core.actions import EE_DELTA, EE_POSE
from sam2act.core.errors import require, require_choice, require_positive
from sam2act.nn.diffusion.dit import DiTConfig
from sam2act.policies.cogact.small_config import SmallBackboneConfig

SAMPLERS = ("ddim", "ddpm")
TINY, SMALL = "tiny", "small"  # values of `backbone`


@dataclass(frozen=True)
class CogACTConfig(SmallBackboneConfig, DiTConfig):
    """The network (`--mvt_cfg_path`, `--mvt_cfg_opts`); published values where there are any."""

    policy: str = "cogact"
    backbone: str = TINY  # tiny | small
    control: str = "ee_delta"  # ee_delta | ee_pose
    image_side: int = 224  # pixels of the square images that it takes
    lang_len: int = 16  # tokens of an instruction
    lang_dim: int = 32
    backbone_width: int = 256  # of the fusion of images and instruction
    sees_state: bool = False  # the gripper's pose and opening beside the images
    diffusion_steps: int = 100
    repeated_diffusion_steps: int = 4  # noises per sample, so that the backbone's work is shared
    condition_dropout: float = 0.1
    mask_padding: bool = False  # leave out actions beyond the end of an episode
    sampler: str = "ddpm"  # ddpm | ddim
    num_ddim_steps: int = 10
    cfg_scale: float = 1.5  # guidance; up to 1 there is none

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("backbone", self.backbone, (TINY, SMALL))
        require_choice("control", self.control, (EE_DELTA.mode, EE_POSE.mode))
        require_choice("sampler", self.sampler, SAMPLERS)
        for key in ("image_side", "lang_len", "lang_dim", "backbone_width", "diffusion_steps"):
            require_positive(self, key)
        require_positive(self, "repeated_diffusion_steps", "num_ddim_steps")
        if self.backbone == SMALL:
            self.check_small(self.image_side, self.backbone_width)
        require(0 <= self.condition_dropout < 1, "condition_dropout must be from 0 to below 1")
