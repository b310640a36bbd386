"""The keys of CogACT."""

from __future__ import annotations

from dataclasses import dataclass, field

from sam2act.config.component import WeightsFile
from sam2act.core.errors import require, require_choice, require_positive
from sam2act.policies.cogact.prismatic import PrismaticConfig
from sam2act.policies.cogact.small_config import SmallBackboneConfig
from sam2act.policies.diffusion_chunks import ChunkDiffusionConfig

TINY, SMALL, PRISMATIC = "tiny", "small", "prismatic"  # values of `backbone`


@dataclass(frozen=True)
class CogACTConfig(SmallBackboneConfig, ChunkDiffusionConfig):
    """The network (`--mvt_cfg_path`, `--mvt_cfg_opts`); published values where there are any."""

    policy: str = "cogact"
    backbone: str = TINY  # tiny | small | prismatic
    image_side: int = 224  # pixels of the square images that it takes
    lang_len: int = 16  # tokens of an instruction
    lang_dim: int = 32
    backbone_width: int = 256  # of the fusion of images and instruction
    sees_state: bool = False  # the gripper's pose and opening beside the images; not prismatic
    vlm: PrismaticConfig = field(default_factory=PrismaticConfig)  # of the prismatic backbone
    # What a new run of the prismatic backbone starts from: an OpenVLA-Prismatic checkpoint or one
    # of CogACT; empty = random weights.
    pretrained_checkpoint: WeightsFile = ""
    activation_checkpointing: bool = False  # recompute layers in the backward pass; prismatic only

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("backbone", self.backbone, (TINY, SMALL, PRISMATIC))
        require_positive(self, "image_side", "lang_len", "lang_dim", "backbone_width")
        if self.backbone == SMALL:
            self.check_small(self.image_side, self.backbone_width)
        if self.backbone == PRISMATIC:
            self._check_prismatic()

    def _check_prismatic(self) -> None:
        width, side = self.vlm.llm_width, self.vlm.vlm_image_side
        require(
            self.condition_dim == width,
            f"condition_dim: {self.condition_dim}, but the language model gives {width} numbers; "
            "set it to vlm.llm_width",
        )
        require(
            self.image_side == side,
            f"image_side: {self.image_side}, but the vision transformers take {side} pixels; set "
            "it to vlm.vlm_image_side",
        )
        require(not self.sees_state, "sees_state: True is for backbone: tiny or small")
