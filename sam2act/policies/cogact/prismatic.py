"""The Prismatic vision-language model: an image and an instruction -> the cognition feature.

Two vision transformers see the image; a projector turns their joined patches into tokens of a Llama
(package transformers, extra `vla`), which reads `BOS, patches, rest of the text`. Attribute names
are those of the released weights. Legend: B samples, N patches, L text tokens, D width of the
Llama.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import ConfigError, require, require_positive
from sam2act.core.torchvision_cpu import ensure_torchvision_importable
from sam2act.nn.encoders.released_vit import ReleasedViT, ViTSizes
from sam2act.nn.encoders.vision_transformer import Normalisation
from sam2act.nn.linear import Linear

PROJECTOR_RATIO = 4
INSTALL = 'install the extra `vla`: pip install "sam2act[vla]"'


@dataclass(frozen=True)
class PrismaticConfig(ComponentConfig):
    """Sizes and texts; the defaults are `prism-dinosiglip-224px+7b`."""

    vlm_image_side: int = 224  # pixels
    vlm_patch: int = 14
    dino_width: int = 1024
    dino_depth: int = 24
    dino_heads: int = 16
    dino_hidden: int = 4096
    siglip_width: int = 1152
    siglip_depth: int = 27
    siglip_heads: int = 16
    siglip_hidden: int = 4304
    llm_width: int = 4096
    llm_hidden: int = 11008
    llm_depth: int = 32
    llm_heads: int = 32
    vocabulary: int = 32064
    tokenizer: str = "meta-llama/Llama-2-7b-hf"  # hub id, folder or tokenizer.json
    prompt: str = "In: What action should the robot take to {instruction}?\nOut:"
    bos_id: int = 1
    empty_id: int = 29871  # Llama's empty token, put behind the prompt
    eos_id: int = 2  # the token whose hidden state is the cognition feature
    pad_id: int = 32000

    def __post_init__(self) -> None:
        super().__post_init__()
        own = [field.name for field in fields(PrismaticConfig)]
        ids = ("bos_id", "empty_id", "eos_id", "pad_id")
        require_positive(self, *(n for n in own if n not in ("tokenizer", "prompt", *ids)))
        require("{instruction}" in self.prompt, "prompt: it must hold {instruction}")
        for name in ids:
            value = getattr(self, name)
            require(
                0 <= value < self.vocabulary,
                f"{name}: {value} is no token of a vocabulary of {self.vocabulary}",
            )
        for width, heads in (("dino", "dino"), ("siglip", "siglip"), ("llm", "llm")):
            value, count = getattr(self, f"{width}_width"), getattr(self, f"{heads}_heads")
            require(value % count == 0, f"{width}_width {value} is no multiple of {count} heads")

    def vit_sizes(self, name: str) -> ViTSizes:
        """Of `dino` or `siglip`."""
        is_dino = name == "dino"
        width, depth, heads, hidden = (
            getattr(self, f"{name}_{part}") for part in ("width", "depth", "heads", "hidden")
        )
        return ViTSizes(
            *(width, depth, heads, hidden, self.vlm_image_side, self.vlm_patch),
            registers=4 if is_dino else 0,
            class_token=is_dino,
            layer_scale=is_dino,
            pooling=not is_dino,
        )


class FusedVision(nn.Module):
    """Both transformers, their patches side by side."""

    def __init__(self, config: PrismaticConfig) -> None:
        super().__init__()
        self.dino_featurizer = ReleasedViT(config.vit_sizes("dino"))
        self.siglip_featurizer = ReleasedViT(config.vit_sizes("siglip"))

    def forward(self, dino_images: Tensor, siglip_images: Tensor) -> Tensor:
        """(B, 3, side, side) twice -> (B, N, both widths)."""
        parts = [self.dino_featurizer(dino_images), self.siglip_featurizer(siglip_images)]
        return torch.cat(parts, dim=-1)


class Projector(nn.Module):
    """Patches -> tokens of the Llama."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        wide = PROJECTOR_RATIO * inputs
        self.projector = nn.Sequential(
            Linear(inputs, wide), nn.GELU(), Linear(wide, width), nn.GELU(), Linear(width, width)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """(B, N, inputs) -> (B, N, D)."""
        tokens: Tensor = self.projector(patches)
        return tokens


class Llama(nn.Module):
    """The language model of transformers under the released name."""

    def __init__(self, config: PrismaticConfig) -> None:
        """Random weights.

        Raises:
            ConfigError: transformers is not installed.
        """
        super().__init__()
        require_transformers()
        from transformers import LlamaConfig, LlamaForCausalLM

        sizes = LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.llm_width,
            intermediate_size=config.llm_hidden,
            num_hidden_layers=config.llm_depth,
            num_attention_heads=config.llm_heads,
            rms_norm_eps=1e-5,
            pad_token_id=config.pad_id,
            use_cache=False,
        )
        self.llm = LlamaForCausalLM(sizes)

    def embed(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        tokens: Tensor = self.llm.get_input_embeddings()(ids)
        return tokens

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) and (B, L) bool, True where there is a token -> last hidden states."""
        out = self.llm.model(inputs_embeds=tokens, attention_mask=mask.long(), use_cache=False)
        hidden: Tensor = out.last_hidden_state
        return hidden

    def restore_tables(self) -> None:
        """Compute the angles of rotations, which are no weights."""
        rotations = self.llm.model.rotary_emb
        self.llm.model.rotary_emb = type(rotations)(self.llm.config)


class PrismaticVLM(nn.Module):
    """Images and token ids -> the cognition feature."""

    def __init__(self, config: PrismaticConfig) -> None:
        """Random weights.

        Raises:
            ConfigError: transformers is not installed.
        """
        super().__init__()
        self.config = config
        self.vision_backbone = FusedVision(config)
        both = config.dino_width + config.siglip_width
        self.projector = Projector(both, config.llm_width)
        self.llm_backbone = Llama(config)
        self.imagenet = Normalisation("imagenet")

    def restore_tables(self) -> None:
        """Compute what is no weight: a model that was built on the device `meta` lacks it."""
        self.imagenet = Normalisation(self.imagenet.name)
        self.llm_backbone.restore_tables()

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.projector.parameters()).dtype

    def forward(self, rgb: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """The hidden state at the last token of each text.

        Args:
            rgb: (B, 3, side, side) in [0, 1].
            ids: (B, L) int64, padded on the right; the first one is BOS, the last one EOS.
            mask: (B, L) bool, False on padding.

        Returns:
            (B, D).
        """
        dino = self.imagenet(rgb).to(self.dtype)
        siglip = (2 * rgb - 1).to(self.dtype)
        patches = self.projector(self.vision_backbone(dino, siglip))
        text = self.llm_backbone.embed(ids)
        tokens = torch.cat([text[:, :1], patches.to(text), text[:, 1:]], dim=1)
        seen = mask.new_ones(mask.shape[0], patches.shape[1])
        whole = torch.cat([mask[:, :1], seen, mask[:, 1:]], dim=1)
        hidden = self.llm_backbone(tokens, whole)[:, patches.shape[1] :]
        feature: Tensor = hidden[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1]
        return feature


class PromptTokens:
    """Instructions -> token ids, as the model was trained with them."""

    def __init__(
        self,
        config: PrismaticConfig,
        hf_token: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Reads no file before the first instruction.

        Args:
            config: names the tokenizer and the special ids.
            hf_token: access token for a tokenizer of the hub.
            cache_dir: where the hub's files are kept.
        """
        self.config = config
        self._access = {"token": hf_token, "cache_dir": cache_dir}
        self._tokenizer: Any = None

    def __call__(self, instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(B, L) int64 ids, padded on the right, and (B, L) bool, False on padding.

        Raises:
            ConfigError: the tokenizer cannot be read, or is of another vocabulary.
        """
        rows = [torch.tensor(self.ids(text)) for text in instructions]
        ids = nn.utils.rnn.pad_sequence(rows, True, float(self.config.pad_id))
        lengths = torch.tensor([len(row) for row in rows])
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]

    def ids(self, instruction: str) -> list[int]:
        """BOS, the prompt, the empty token, EOS."""
        config = self.config
        text = config.prompt.format(instruction=instruction.lower())
        middle = self._encode(text)
        if max(middle, default=0) >= config.vocabulary:
            raise ConfigError(
                f"tokenizer: {config.tokenizer} gives token {max(middle)}, but the vocabulary has "
                f"{config.vocabulary}; name the tokenizer of this model"
            )
        return [config.bos_id, *middle, config.empty_id, config.eos_id]

    def _encode(self, text: str) -> list[int]:
        if self._tokenizer is None:
            self._tokenizer = self._read()
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return list(getattr(encoded, "ids", encoded))

    def _read(self) -> Any:
        require_transformers()
        name = self.config.tokenizer
        try:
            if name.endswith(".json"):
                from tokenizers import Tokenizer

                return Tokenizer.from_file(name)
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(name, **self._access)
        except Exception as error:  # the libraries raise many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"tokenizer: {name} cannot be read ({reason}); name a folder, a tokenizer.json, or "
                "a hub id that hf_token may read"
            ) from error


def require_transformers() -> None:
    """Make transformers importable.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("transformers") is None:
        raise ConfigError(f"the vision-language model needs the package transformers; {INSTALL}")
    ensure_torchvision_importable()
