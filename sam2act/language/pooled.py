"""One feature per instruction: CLIP ViT-B/32's pooled and projected text feature.

Legend: N instruction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sam2act.config.experiment import LanguageConfig
from sam2act.core.instructions import LanguageError, as_instructions
from sam2act.language.text_encoder import (
    CLIP_WIDTH,
    ClipTextEncoder,
    TextEncoder,
    build_clip_text_tower,
    clip_tokens,
    load_clip_weights,
)

MODEL = "ViT-B-32-quickgelu"
DEFAULT_WEIGHTS = "ViT-B-32.pt"


class PooledClipEncoder(ClipTextEncoder):
    """CLIP ViT-B/32 text features (N, 1, 512), those at the end of the text, projected."""

    family = f"clip_pooled-{MODEL}"

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, 1, 512) float32, on the CPU.

        Raises:
            LanguageError: as of `ClipTextEncoder`.
        """
        texts = as_instructions(texts)
        if self._model is None:
            path = self._path  # before the tower is built, which takes seconds
            model = build_clip_text_tower(MODEL)
            load_clip_weights(model, path, "CLIP ViT-B/32", DEFAULT_WEIGHTS)
            self._model = model
        features: Tensor = self._model.encode_text(clip_tokens(texts))
        return features[:, None]


def build_pooled_encoder(config: LanguageConfig, lang_len: int, lang_dim: int) -> TextEncoder:
    """The encoder `clip_pooled`.

    Raises:
        LanguageError: CLIP's one feature of 512 numbers does not fit the network.
    """
    if (lang_len, lang_dim) != (1, CLIP_WIDTH):
        raise LanguageError(
            f"language.encoder: clip_pooled gives 1 x {CLIP_WIDTH} features, but the network takes "
            f"{lang_len} x {lang_dim}; use clip or hashed"
        )
    return PooledClipEncoder(config.weights_path or DEFAULT_WEIGHTS)
