"""Instruction features on disk, so that each instruction is encoded once.

A safetensors file with one (L, D) array per instruction and encoder. The name of an entry joins the
encoder's name, which covers model and weights, with a digest of the text, so features of other
weights are never mistaken for current ones.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sam2act.core.files import replacing
from sam2act.core.instructions import LanguageError, as_instructions
from sam2act.language.text_encoder import TextEncoder

logger = logging.getLogger(__name__)


class LanguageCache:
    """Features of instructions, kept in the file `path`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def table(self, texts: Sequence[str], encoder: TextEncoder) -> Tensor:
        """(N, L, D) float32 features of `texts`, on the CPU.

        Only texts that the file lacks reach the encoder; they are added to it. With several
        processes, let one call this first: the others then only read.

        Raises:
            LanguageError: the file is damaged, weights are needed and absent, or a text cannot be
                encoded.
        """
        texts = as_instructions(texts)
        stored = self._read()
        name = self._encoder_name(stored, texts, encoder)
        keys = [_key(text, name) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in stored}
        if missing:
            features = encoder.encode(list(missing.values())).float().cpu()
            stored = self._read()  # another process may have added entries meanwhile
            stored.update(zip(missing, features.unbind(0), strict=True))
            self._write(stored)
        return torch.stack([stored[key] for key in keys])

    def _encoder_name(
        self, stored: dict[str, Tensor], texts: Sequence[str], encoder: TextEncoder
    ) -> str:
        """The encoder's name; without its weights, the one that encoded all of `texts` before."""
        try:
            return encoder.name
        except LanguageError:
            names = {key.partition("/")[0] for key in stored}
            for name in sorted(name for name in names if name.startswith(encoder.family)):
                if all(_key(text, name) in stored for text in texts):
                    logger.warning("%s: using features of %s without its weights", self.path, name)
                    return name
            raise

    def _read(self) -> dict[str, Tensor]:
        if not self.path.is_file():
            return {}
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.path)
        except (OSError, SafetensorError) as error:
            raise LanguageError(
                f"{self.path}: damaged language cache ({error}); delete the file, it is rebuilt"
            ) from error

    def _write(self, entries: dict[str, Tensor]) -> None:
        """Replaces the file at once; readers see the old or the new one."""
        from safetensors.torch import save_file

        with replacing(self.path, shared=True) as draft:
            save_file({key: value.clone() for key, value in entries.items()}, draft)


def warn_of_equal(texts: Sequence[str], features: Tensor) -> None:
    """Logs which different instructions a policy cannot tell apart.

    Args:
        texts: N instructions.
        features: (N, L, D) theirs.
    """
    groups: dict[bytes, list[str]] = {}
    for text, row in zip(texts, features.cpu(), strict=True):
        digest = hashlib.sha256(row.contiguous().numpy().tobytes()).digest()
        groups.setdefault(digest, []).append(text)
    for group in groups.values():
        different = list(dict.fromkeys(group))
        if len(different) > 1:
            names = ", ".join(repr(text[:60]) for text in different[:5])
            logger.warning(
                "%d instructions get the same features, so the policy cannot tell them apart: %s",
                *(len(different), names),
            )


def _key(text: str, encoder_name: str) -> str:
    return f"{encoder_name}/{hashlib.sha256(text.encode()).hexdigest()}"
