"""The configuration of SAM2Act and SAM2Act+: the keys of their components, side by side."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from sam2act.core.errors import require, require_choice
from sam2act.policies.multiview.config import TwoStageConfig
from sam2act.policies.sam2act.chunk_config import ChunkHeadConfig
from sam2act.policies.sam2act.memory.config import MemoryConfig
from sam2act.policies.sam2act.released_keys import Sam2Switches, UnusedKeys

KEYFRAME_BINS, DIFFUSION_CHUNK = "keyframe_bins", "diffusion_chunk"  # values of `action_head`


@dataclass(frozen=True)
class NetworkConfig(UnusedKeys, Sam2Switches, MemoryConfig, TwoStageConfig):
    """The network (`--mvt_cfg_path`, `--mvt_cfg_opts`).

    Defaults are those of the released code, where these can run. Sizes that the released code fixed
    in its source are keys too (marked "added").
    """

    policy: str = "sam2act"
    frozen_eval: bool = False  # added: frozen parts in evaluation mode during stage 2
    stage_two_freeze_skip_convs: bool = False  # added
    auxiliary: str = ""  # added: a second task of stage 1: next_keyframe; "" = none
    auxiliary_weight: float = 0.1  # added: of its loss; 0 leaves it out
    action_head: str = KEYFRAME_BINS  # added: keyframe_bins | diffusion_chunk
    chunk: ChunkHeadConfig = field(default_factory=ChunkHeadConfig)  # added, of diffusion_chunk

    def __post_init__(self) -> None:
        if not self.ifSAM2 and self.encoder == "sam2":
            object.__setattr__(self, "encoder", "none")
        super().__post_init__()
        require_choice("auxiliary", self.auxiliary, ("", "next_keyframe"))
        require(self.auxiliary_weight >= 0, "auxiliary_weight must not be negative")
        object.__setattr__(self, "feat_dim", 3 * self.num_rot + 4)
        require_choice("action_head", self.action_head, (KEYFRAME_BINS, DIFFUSION_CHUNK))
        if self.gives_chunks:
            require(
                not self.use_memory,
                "action_head: diffusion_chunk acts at frame rate, while the memory is one of "
                "keyframes; set use_memory: False",
            )
            require(
                not self.auxiliary,
                "auxiliary: next_keyframe belongs to samples of keyframes; leave it out with "
                "action_head: diffusion_chunk",
            )
            feature = 2 * len(self.views) * self.token_width
            head = dataclasses.replace(self.chunk, condition_dim=self.chunk.condition_of(feature))
            object.__setattr__(self, "chunk", head)

    @property
    def gives_chunks(self) -> bool:
        """Whether it acts by chunks of actions at frame rate, not by keyframes."""
        return self.action_head == DIFFUSION_CHUNK

    @property
    def foresees(self) -> bool:
        """Whether the coarse branch learns to predict the next keyframe's views."""
        return bool(self.auxiliary and self.auxiliary_weight and not self.use_memory)

    @property
    def training_window(self) -> int:
        """With memory, batches consist of windows of consecutive keyframes."""
        return self.window if self.use_memory else 1
