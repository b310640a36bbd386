"""Networks whose attention drops nothing, so that they compute the same twice."""

from __future__ import annotations

from torch import nn

from sam2act.nn.attention import Attention


def set_attention_dropout(module: nn.Module, dropout: float) -> None:
    """Change the dropout probability of every `Attention` below `module`."""
    for layer in module.modules():
        if isinstance(layer, Attention):
            layer.dropout = dropout
