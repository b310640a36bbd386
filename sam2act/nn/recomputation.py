"""Less memory for more time: layers whose activations are computed again in the backward pass."""

from __future__ import annotations

from dataclasses import dataclass

from sam2act.config.component import ComponentConfig


@dataclass(frozen=True)
class RecomputationConfig(ComponentConfig):
    """A key that the image encoder and the transformer share."""

    activation_checkpointing: bool = False  # added: recompute layers in the backward pass
