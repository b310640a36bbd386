"""The vision-language model as the backbone of a training, and the instructions it reads.

Legend: B samples, K cameras, H W image size, L tokens of a prompt, D width of the Llama.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam2act.config.experiment import LanguageConfig
from sam2act.core.errors import ConfigError
from sam2act.core.instructions import as_instructions
from sam2act.core.weights import find_weights
from sam2act.policies.cogact.prismatic import PrismaticConfig, PrismaticVLM, PromptTokens
from sam2act.policies.cogact.released_files import (
    HEAD,
    assign,
    assign_head,
    read_parts,
)

PROMPT_ENCODER = "prismatic"  # name of the text encoder that gives token ids
ID_AND_MASK = 2  # numbers of a prompt's token


class PromptEncoder:
    """Instructions as the ids of their prompts: L tokens, each with its id and 1, then zeros."""

    family = PROMPT_ENCODER

    def __init__(self, config: PrismaticConfig, length: int) -> None:
        self.length = length
        self._tokens = PromptTokens(config)
        ids = (config.bos_id, config.empty_id, config.eos_id)
        told = f"{config.tokenizer} {config.prompt} {ids} {length}"
        self.name = f"{PROMPT_ENCODER}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, L, 2) float32, which holds ids exactly.

        Raises:
            ConfigError: the tokenizer cannot be read, or a prompt is longer than L tokens.
        """
        texts = as_instructions(texts)
        features = torch.zeros(len(texts), self.length, ID_AND_MASK)
        for row, text in enumerate(texts):
            ids = self._tokens.ids(text)
            if len(ids) > self.length:
                raise ConfigError(
                    f"lang_len: {self.length}, but the prompt of {text[:60]!r} has {len(ids)} "
                    "tokens; set it to at least that"
                )
            features[row, : len(ids), 0] = torch.tensor(ids, dtype=torch.float32)
            features[row, : len(ids), 1] = 1
        return features


def build_prompt_encoder(config: LanguageConfig, lang_len: int, lang_dim: int) -> PromptEncoder:
    """The encoder `prismatic`; `language.weights_path` names the tokenizer (default: Llama 2's).

    Raises:
        ConfigError: `lang_dim` is not 2.
    """
    if lang_dim != ID_AND_MASK:
        raise ConfigError(
            f"lang_dim: {lang_dim}, but prompts are ids with a mask; set it to {ID_AND_MASK}"
        )
    sizes = PrismaticConfig()
    if config.weights_path:
        sizes = dataclasses.replace(sizes, tokenizer=str(config.weights_path))
    return PromptEncoder(sizes, lang_len)


class PrismaticBackbone(nn.Module):
    """The first camera and a prompt -> the cognition feature."""

    def __init__(self, config: PrismaticConfig, *, recompute: bool) -> None:
        """Random weights.

        Args:
            config: sizes.
            recompute: recompute the layers of all three networks in the backward pass.

        Raises:
            ConfigError: transformers is not installed.
        """
        super().__init__()
        self.vlm = PrismaticVLM(config)
        if recompute:
            vision = self.vlm.vision_backbone
            for encoder in (vision.dino_featurizer, vision.siglip_featurizer):
                encoder.checkpointing = True
            llm: Any = self.vlm.llm_backbone.llm
            keys = {"use_reentrant": False}
            if hasattr(llm, "activation_checkpointing_enable"):  # its name since transformers 5
                llm.activation_checkpointing_enable(activation_checkpointing_kwargs=keys)
            else:
                llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs=keys)

    def forward(self, images: Tensor, state: Tensor, language: Tensor) -> Tensor:
        """The cognition feature.

        Args:
            images: (B, K, H, W, 3) uint8; the first camera counts.
            state: not used.
            language: (B, L, 2) of `PromptEncoder`.

        Returns:
            (B, 1, D) float32.
        """
        rgb = images[:, 0].movedim(-1, 1).float() / 255
        ids, mask = language[..., 0].long(), language[..., 1] > 0
        feature: Tensor = self.vlm(rgb, ids, mask)
        return feature[:, None].float()

    def sharded(self) -> list[nn.Module]:
        """The parts that are gathered one at a time where parameters are sharded."""
        vision = self.vlm.vision_backbone
        return [
            *vision.dino_featurizer.blocks,
            *vision.siglip_featurizer.blocks,
            *self.vlm.llm_backbone.llm.model.layers,
        ]


def load_pretrained(backbone: PrismaticBackbone, head: nn.Module, named: str) -> None:
    """Take the weights of an OpenVLA-Prismatic checkpoint, or of CogACT's with its head.

    Args:
        backbone: all its tensors are replaced; it may be on the device `meta`.
        head: keeps its values where the file has none.
        named: the file, by the rule of weight files.

    Raises:
        ConfigError: there is no such file, or it does not fit.
    """
    path = find_weights("pretrained_checkpoint", named, "leave the key empty to start from scratch")
    parts = read_parts(Path(path))
    vlm = backbone.vlm
    for name in ("vision_backbone", "projector", "llm_backbone"):
        assign(getattr(vlm, name), parts[name], f"{path}: {name}", torch.float32)
    vlm.restore_tables()
    if HEAD in parts:
        assign_head(head, parts[HEAD], f"{path}: {HEAD}")


def build_backbone(config: Any, head: nn.Module, *, pretrained: bool) -> PrismaticBackbone:
    """The backbone of a `CogACTConfig`, with the weights that it names where these are wanted.

    Raises:
        ConfigError: transformers is not installed, or the file does not fit.
    """
    named = config.pretrained_checkpoint if pretrained else ""
    with torch.device("meta" if named else "cpu"):
        backbone = PrismaticBackbone(config.vlm, recompute=config.activation_checkpointing)
    if named:
        load_pretrained(backbone, head, named)
    return backbone
