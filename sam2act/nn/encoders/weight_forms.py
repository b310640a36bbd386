"""Public forms of the weights of vision transformers: of their authors, of transformers, of timm.

A file is recognised by the beginnings of its names, then renamed to the authors' names, then
loaded strictly: every tensor of the encoder is there, in its shape, and none is left over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam2act.core.errors import ConfigError
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import WeightsError, misfit, require_finite, unwrapped
from sam2act.core.weights import how_to_get

NESTED = ("model", "state_dict")  # entries in which files of training runs keep their tensors


@dataclass(frozen=True)
class VitFile:
    """What the names of a file begin with, and what of it is left out."""

    title: str
    prefixes: tuple[str, ...]  # of the encoder's names; the first one that occurs counts
    marks: tuple[str, ...]  # after the prefix, names of which every file of this kind has one
    ignored: tuple[str, ...] = ()  # beginnings of names after the prefix that are not needed


CLASS_TOKENS = ("cls_token", "embeddings.cls_token")
SAM = VitFile(
    "SAM",
    ("image_encoder.", "vision_encoder.", ""),
    ("blocks.0.attn.rel_pos_h", "layers.0.attn.rel_pos_h"),
)
DINOV2 = VitFile(
    "DINOv2",
    ("", "dinov2.", "dinov2_with_registers."),
    CLASS_TOKENS,
    ignored=("mask_token", "embeddings.mask_token", "head.", "classifier."),
)
DEPTH_ANYTHING_V2 = VitFile(
    "Depth Anything V2",
    ("pretrained.", "backbone."),
    CLASS_TOKENS,
    ignored=("mask_token", "embeddings.mask_token"),
)
KINDS = (SAM, DINOV2, DEPTH_ANYTHING_V2)

# A part of a name in transformers or timm -> the authors' name of it; applied in this order.
SAM_NAMES = {
    "patch_embed.projection.": "patch_embed.proj.",
    "neck.conv1.": "neck.0.",
    "neck.layer_norm1.": "neck.1.",
    "neck.conv2.": "neck.2.",
    "neck.layer_norm2.": "neck.3.",
    "layers.": "blocks.",
    "layer_norm": "norm",
    "mlp.fc": "mlp.lin",
}
DINOV2_NAMES = {
    "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.": "",
    "reg_token": "register_tokens",
    "encoder.layer.": "blocks.",
    "attention.attention.": "attn.",
    "attention.output.dense.": "attn.proj.",
    "attention.q_proj.": "attn.query.",
    "attention.k_proj.": "attn.key.",
    "attention.v_proj.": "attn.value.",
    "attention.o_proj.": "attn.proj.",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "layernorm.": "norm.",
}


def read_sam(key: str, path: Path) -> dict[str, Tensor]:
    """The image encoder of a file of SAM: of Meta, of transformers' SamModel, or of timm.

    Raises:
        ConfigError: no readable file, or none of SAM.
    """
    return _renamed(_of_kind(key, path, SAM), SAM_NAMES)


def read_dinov2(key: str, path: Path, form: VitFile) -> dict[str, Tensor]:
    """The transformer of a file of DINOv2 or Depth Anything V2 (`form`).

    Queries, keys and values, which transformers keeps apart, are joined. Files of timm with
    registers have no position of the class token, which is added there to the token itself: it
    becomes zero.

    Raises:
        ConfigError: no readable file, or none of that form.
    """
    state = _renamed(_of_kind(key, path, form), DINOV2_NAMES)
    state = _joined(state)
    table = state.get("pos_embed")
    if isinstance(table, Tensor) and table.ndim == 3 and _is_square(table.shape[1]):
        state["pos_embed"] = torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)
    return state


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], key: str, path: Path) -> None:
    """Give `module` the tensors of `state`.

    Raises:
        ConfigError: a tensor is missing, left over or of another shape; the message lists them.
    """
    complaint = misfit(state, module.state_dict())
    if complaint:
        raise ConfigError(
            f"{key}: {path} does not fit the encoder; is it another size? {complaint}"
        )
    module.load_state_dict(state)


def read_tensors(key: str, path: Path) -> dict[str, Any]:
    """The named tensors of a file, also below an entry `model` or `state_dict`.

    Raises:
        ConfigError: it cannot be read, or holds values that are no weights.
    """
    try:
        content = read_weight_file(path)
        for entry in NESTED:
            if isinstance(content, dict) and isinstance(content.get(entry), dict):
                content = content[entry]
        if not isinstance(content, dict):
            raise ConfigError(f"{key}: {path} holds no named tensors but {type(content).__name__}")
        state = unwrapped(content)
        require_finite(state)
    except WeightFileError as error:
        remedy = f"Remove it, or name another file. {how_to_get(path.name)}"
        raise ConfigError(f"{key}: {error}. {remedy}") from error
    except WeightsError as error:
        raise ConfigError(f"{key}: {path}: {error}") from error
    return state


def _of_kind(key: str, path: Path, kind: VitFile) -> dict[str, Any]:
    """The encoder's tensors, without the prefix of their names."""
    state = read_tensors(key, path)
    prefix = _prefix(state, kind)
    if prefix is None:
        others = [other.title for other in KINDS if _prefix(state, other) is not None]
        found = f"it is one of {others[0]}" if others else f"no name {kind.marks[0]} in it"
        raise ConfigError(
            f"{key}: {path} is no file of {kind.title} ({found}); name the right file or another "
            "encoder"
        )
    inner = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    return {name: value for name, value in inner.items() if not name.startswith(kind.ignored)}


def _prefix(state: Mapping[str, Any], kind: VitFile) -> str | None:
    """The prefix of the encoder's names; None if the file is of another kind."""
    found = (p for p in kind.prefixes if any(p + mark in state for mark in kind.marks))
    return next(found, None)


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """`state` under the authors' names."""
    renamed = {}
    for name, value in state.items():
        for part, ours in names.items():
            name = name.replace(part, ours)
        renamed[name] = value
    return renamed


def _joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with `attn.query`, `attn.key` and `attn.value` as one `attn.qkv`."""
    joined = dict(state)
    for name in state:
        parts = [name.replace("attn.query.", f"attn.{part}.") for part in ("query", "key", "value")]
        if "attn.query." in name and all(part in state for part in parts):
            fused = torch.cat([joined.pop(part) for part in parts])
            joined[name.replace("attn.query.", "attn.qkv.")] = fused
    return joined


def _is_square(count: int) -> bool:
    return int(count**0.5) ** 2 == count
