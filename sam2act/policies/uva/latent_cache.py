"""Latents of pictures that were met before, by the content of the picture.

Legend: M pictures, S side, c channels and s side of latents.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from sam2act.policies.uva.autoencoder import Autoencoder, Moments, pictures_of

TOGETHER = 16  # pictures of every pass, so that rounding does not depend on what is known already
_BYTES = 16  # of a digest


class LatentCache:
    """Moments of a frozen autoencoder, one entry per picture."""

    def __init__(self) -> None:
        self._row: dict[bytes, int] = {}
        self._table: list[Tensor] = []  # (2, c, s, s) each, on the CPU

    def __len__(self) -> int:
        return len(self._row)

    def moments(self, autoencoder: Autoencoder, rgb: Tensor, side: int) -> Moments:
        """Of pictures (M, H, W, 3) uint8; those that are new are computed, `TOGETHER` at a time."""
        raw = rgb.cpu().contiguous().numpy()
        keys = [hashlib.blake2b(picture, digest_size=_BYTES).digest() for picture in raw]
        new = {key: row for row, key in enumerate(keys) if key not in self._row}
        names, rows = list(new), list(new.values())
        for first in range(0, len(rows), TOGETHER):
            part = rows[first : first + TOGETHER]
            filled = part + part[:1] * (TOGETHER - len(part))
            found = autoencoder.moments(pictures_of(rgb[filled], side))
            both = torch.stack(list(found), dim=1).cpu()
            for name, value in zip(names[first : first + TOGETHER], both, strict=False):
                self._row[name] = len(self._table)
                self._table.append(value.clone())
        known = torch.stack([self._table[self._row[key]] for key in keys]).to(rgb.device)
        return Moments(*known.unbind(1))


def plain_moments(autoencoder: Autoencoder, rgb: Tensor, side: int) -> Moments:
    """Of pictures (M, H, W, 3) uint8."""
    return autoencoder.moments(pictures_of(rgb, side))
