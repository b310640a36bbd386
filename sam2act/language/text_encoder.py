"""Turning instructions into token features.

Legend: N instruction, L token position, D token width. Features are float32.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sam2act.config.experiment import LanguageConfig
from sam2act.core.errors import ConfigError
from sam2act.core.files import sha256_of
from sam2act.core.instructions import LanguageError, as_instructions
from sam2act.core.registry import ENCODERS
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import WeightsError, misfit, require_finite, unwrapped
from sam2act.core.weights import find_weights, how_to_get

CLIP_MODEL = "RN50-quickgelu"  # the plain "RN50" would run OpenAI's weights with another GELU
CLIP_LENGTH, CLIP_WIDTH = 77, 512
CLIP_DEFAULT_WEIGHTS = "RN50.pt"
# The pieces that the hashed encoder tells apart: words; signs and symbols; points, commas, colons
# and dashes where they belong to a number.
_PIECE = re.compile(r"[\w']+|[^\w\s'.,;:!?\"()\[\]{}…“”„«»‘’–—-]|[.,:–-](?=\d)|-(?=\s+\d)")
_CLIP_METADATA = ("input_resolution", "context_length", "vocab_size")


class InstructionEncoder(Protocol):
    """Encodes instructions: all that acting needs."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, L, D) float32 token features."""
        ...


class TextEncoder(InstructionEncoder, Protocol):
    """Encodes instructions; `name` identifies model and weights in the cache.

    `family` is the part of the name that does not depend on the weights.
    """

    family: str

    @property
    def name(self) -> str:
        """Changes whenever the features would."""
        ...


class HashedTextEncoder:
    """One fixed pseudo-random unit-variance vector per word, zeros behind the last word.

    Needs no weights and gives the same features on every machine. It tells instructions apart but
    carries no meaning, so it suits small experiments and tests. Signs and symbols count as words;
    capital letters, brackets, quotation marks and the punctuation of sentences do not matter.
    """

    def __init__(self, length: int, width: int) -> None:
        self.length, self.width = length, width
        self.family = self.name = f"hashed-v2-{length}x{width}"

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, L, D) float32; the last position stands for all remaining words.

        Raises:
            LanguageError: an item is no text, or has no word in it.
        """
        texts = as_instructions(texts)
        features = np.zeros((len(texts), self.length, self.width), np.float32)
        for row, text in enumerate(texts):
            for position, word in enumerate(self._split(text)):
                features[row, position] = self._vector(word, position)
        return torch.from_numpy(features)

    def _split(self, text: str) -> list[str]:
        """At most L pieces: words, and the rest of a long text as one piece."""
        words = _PIECE.findall(unicodedata.normalize("NFC", text).lower())
        head, rest = words[: self.length - 1], words[self.length - 1 :]
        return [*head, " ".join(rest)] if rest else head

    def _vector(self, word: str, position: int) -> np.ndarray:
        """(D,) float32 uniform of variance one, from as many digests as needed."""
        digests = b"".join(
            hashlib.sha256(f"{position}\0{block}\0{word}".encode()).digest()
            for block in range(-(-2 * self.width // 32))
        )
        steps = np.frombuffer(digests, "<u2")[: self.width].astype(np.float64)
        values: np.ndarray = ((steps + 0.5) / 65536 * 2 - 1) * np.sqrt(3.0)
        return values


class ClipTextEncoder:
    """CLIP RN50 token features: (N, 77, 512), after the final layer norm, not projected.

    Runs in float32. All 77 positions are kept and padding is not masked, as in the released data.
    """

    family = f"clip-{CLIP_MODEL}"

    def __init__(self, weights_path: str) -> None:
        """Takes the weights that `weights_path` means; they are looked for at first need.

        The file may be OpenAI's TorchScript archive, a state dict (.pt) or .safetensors.
        """
        self._named = weights_path
        self._model: Any = None

    @cached_property
    def name(self) -> str:
        """Model and a digest of the weight file.

        Raises:
            LanguageError: the file is absent.
        """
        return f"{self.family}-{sha256_of(self._path)[:16]}"

    @cached_property
    def _path(self) -> Path:
        try:
            return find_weights(
                "language.weights_path", self._named, "set language.encoder to hashed"
            )
        except ConfigError as error:
            raise LanguageError(str(error)) from error

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, 77, 512) float32, on the CPU.

        Raises:
            LanguageError: open_clip is not installed, the weights are absent or no CLIP RN50, or
                an item is no text, has no word in it, or is too long.
        """
        texts = as_instructions(texts)
        if self._model is None:
            path = self._path  # before the tower is built, which takes seconds
            model = build_clip_text_tower()
            load_clip_weights(model, path)
            self._model = model
        return clip_token_features(self._model, clip_tokens(texts))


def clip_tokens(texts: Sequence[str]) -> Tensor:
    """(N, 77) int64 token numbers of CLIP's tokenizer, zero padded.

    Raises:
        LanguageError: a text is longer; like CLIP's own tokenizer, this cuts nothing off.
    """
    tokenizer = _import_open_clip().get_tokenizer(CLIP_MODEL)
    for text in texts:
        count = len(tokenizer.encode(text)) + 2  # the start and the end are tokens too
        if count > CLIP_LENGTH:
            raise LanguageError(
                f"the instruction {text[:60]!r}... has {count} CLIP tokens, but CLIP reads "
                f"{CLIP_LENGTH}; shorten it in the demos (variation_descriptions.pkl), or set "
                "language.encoder to hashed"
            )
    tokens: Tensor = tokenizer(list(texts))
    return tokens


def clip_token_features(model: Any, tokens: Tensor) -> Tensor:
    """(N, 77, 512) features of the text tower after its final layer norm.

    Args:
        model: a CLIP model of open_clip.
        tokens: (N, 77) int64.
    """
    hidden = model.token_embedding(tokens) + model.positional_embedding
    hidden = model.transformer(hidden, attn_mask=model.attn_mask)
    features: Tensor = model.ln_final(hidden)
    return features


def build_clip_text_tower(name: str = CLIP_MODEL) -> Any:
    """A CLIP model of open_clip in float32 with random weights and without the visual tower.

    Raises:
        LanguageError: open_clip is not installed, or builds the tower with another activation.
    """
    open_clip = _import_open_clip()
    root = logging.getLogger()
    root.addFilter(_is_no_random_weights_warning)  # the weights are loaded right afterwards
    try:
        model = open_clip.create_model(name, pretrained=None, precision="fp32")
    finally:
        root.removeFilter(_is_no_random_weights_warning)
    activation = type(model.transformer.resblocks[0].mlp.gelu).__name__
    if activation != "QuickGELU":
        raise LanguageError(
            f"language.encoder: open_clip built {name} with {activation} instead of "
            "QuickGELU, which changes the features; install open_clip_torch>=3.0"
        )
    del model.visual
    return model.float().eval()


def _is_no_random_weights_warning(record: logging.LogRecord) -> bool:
    return "No pretrained weights loaded" not in record.getMessage()


def _import_open_clip() -> Any:
    from sam2act.core.torchvision_cpu import ensure_torchvision_importable

    ensure_torchvision_importable()
    try:
        import open_clip
    except ImportError as error:
        raise LanguageError(
            "language.encoder: clip needs the package open_clip_torch to encode new instructions; "
            'install the extra with `pip install -e ".[clip]"`, provide the language cache, or '
            f"set language.encoder to hashed ({error})"
        ) from error
    return open_clip


def load_clip_weights(
    model: Any, path: Path, kind: str = "CLIP RN50", public: str = CLIP_DEFAULT_WEIGHTS
) -> None:
    """Give a text tower the weights of a file.

    Raises:
        LanguageError: the file holds no weights of `kind`; `public` is the name of the right one.
    """
    remedy = f"remove it, or name another file. {how_to_get(public)}"
    try:
        content = read_weight_file(path, torchscript=True)
        state = unwrapped(content.get("state_dict", content)) if isinstance(content, dict) else {}
        state = {
            key: value
            for key, value in state.items()
            if key not in _CLIP_METADATA and not key.startswith("visual.")
        }
        require_finite(state)
    except WeightFileError as error:
        raise LanguageError(f"language.weights_path: {error}; {remedy}") from error
    except WeightsError as error:
        raise LanguageError(f"language.weights_path: {path}: {error}; {remedy}") from error
    complaint = misfit(state, model.state_dict())
    if complaint:
        raise LanguageError(
            f"language.weights_path: {path} does not hold {kind} ({complaint}); {remedy}"
        )
    model.load_state_dict({key: value.float() for key, value in state.items()})


def build_text_encoder(config: LanguageConfig, lang_len: int, lang_dim: int) -> TextEncoder:
    """The encoder that `language.encoder` names, giving (N, lang_len, lang_dim).

    Raises:
        ConfigError: there is none of that name.
        LanguageError: the encoder cannot give features of this size.
    """
    encoder: TextEncoder = ENCODERS.get(config.encoder)(config, lang_len, lang_dim)
    return encoder


def build_hashed_encoder(config: LanguageConfig, lang_len: int, lang_dim: int) -> TextEncoder:
    """The encoder `hashed`, of any size."""
    return HashedTextEncoder(lang_len, lang_dim)


def build_clip_encoder(config: LanguageConfig, lang_len: int, lang_dim: int) -> TextEncoder:
    """The encoder `clip`.

    Absent weights are reported when features are asked for that no cache holds.

    Raises:
        LanguageError: CLIP's 77 x 512 do not fit the network.
    """
    if (lang_len, lang_dim) != (CLIP_LENGTH, CLIP_WIDTH):
        raise LanguageError(
            f"language.encoder: clip gives {CLIP_LENGTH} x {CLIP_WIDTH} features, but the network "
            f"has lang_len {lang_len} and lang_dim {lang_dim}; change them or use hashed"
        )
    return ClipTextEncoder(config.weights_path or CLIP_DEFAULT_WEIGHTS)
