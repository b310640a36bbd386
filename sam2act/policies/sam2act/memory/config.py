"""Keys of the memory."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.core.errors import require, require_choice, require_positive
from sam2act.nn.multiview_transformer import TokenConfig


@dataclass(frozen=True)
class MemoryConfig(TokenConfig):
    """The memory of SAM2Act+, which works on the tokens of the coarse branch."""

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

    @property
    def window(self) -> int:
        """Keyframes that belong together in training: one and those that it remembers."""
        return self.num_maskmem + 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "num_maskmem")
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
