"""The keys of the head that gives chunks of actions at frame rate (`action_head`)."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.core.errors import require, require_choice, require_positive
from sam2act.core.specs import CHUNK_END, NEXT_KEYFRAME
from sam2act.policies.diffusion_chunks import CONTROLS, ChunkDiffusionConfig

FULL_FEATURE = 768  # of the published network: 3 views, twice 128 channels each


@dataclass(frozen=True)
class ChunkHeadConfig(ChunkDiffusionConfig):
    """`chunk.*` of the network file; all added.

    `action_dim` and `condition_dim` follow from the control mode and the network.
    """

    condition_dim: int = FULL_FEATURE
    waypoint: str = NEXT_KEYFRAME  # what the heat maps show: keyframe | chunk_end
    loss_weight: float = 1.0  # of the noise's error beside the loss of the heat maps
    # The hand's place relative to the waypoint, its axes and opening, beside the branch's feature.
    sees_state: bool = False
    state_width: int = 64
    waypoint_noise: float = 0.01  # metres: how far the waypoint is off in training, for sees_state

    def __post_init__(self) -> None:
        object.__setattr__(self, "action_dim", CONTROLS[self.control].size if self._known else 1)
        super().__post_init__()
        require_choice("chunk.waypoint", self.waypoint, (NEXT_KEYFRAME, CHUNK_END))
        require_positive(self, "state_width")
        require(self.loss_weight > 0, "chunk.loss_weight must be positive")
        require(self.waypoint_noise >= 0, "chunk.waypoint_noise must be 0 or positive")

    @property
    def _known(self) -> bool:
        return self.control in CONTROLS  # others are refused by name

    def condition_of(self, feature: int) -> int:
        """Width of the condition for a feature of the fine branch with so many numbers."""
        return feature + self.state_width * self.sees_state
