"""Masks of images that come again, such as those of stored demonstrations.

A mask belongs to the pixels of an image: the same image, whoever reads it, finds its mask again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing

ORIGIN_FILE = "made_by.json"


class StoredMasks:
    """Masks in memory and, if a folder is named, as PNG files."""

    def __init__(self, folder: Path | None, origin: dict[str, str]) -> None:
        """Use a folder; it is begun with the first mask.

        Args:
            folder: None = memory alone.
            origin: how the masks are made; masks of other ways are refused.

        Raises:
            ConfigError: the folder holds masks that were made otherwise.
        """
        self.folder, self._origin = folder, origin
        self._packed: dict[str, np.ndarray] = {}
        path = None if folder is None else folder / ORIGIN_FILE
        if path is None or not path.exists():
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != origin:
            raise ConfigError(
                f"sam_g: masks={folder} holds masks made with {found}, not with {origin}; name "
                "another folder or remove it"
            )

    def get(self, camera: str, rgb: np.ndarray) -> Tensor | None:
        """(H, W) bool of an image (H, W, 3) uint8; None if it is not known."""
        key = self._key(camera, rgb)
        if key not in self._packed:
            if self.folder is None or not (path := self.folder / f"{key}.png").exists():
                return None
            with Image.open(path) as image:
                self._packed[key] = np.packbits(np.array(image) > 0)
        bits = np.unpackbits(self._packed[key], count=rgb.shape[0] * rgb.shape[1])
        return torch.from_numpy(bits.reshape(rgb.shape[:2]).astype(bool))

    def put(self, camera: str, rgb: np.ndarray, mask: Tensor) -> None:
        """Remember the mask (H, W) bool of an image (H, W, 3) uint8."""
        key, pixels = self._key(camera, rgb), mask.cpu().numpy()
        self._packed[key] = np.packbits(pixels)
        if self.folder is not None:
            self._write_origin(self.folder / ORIGIN_FILE)
            with replacing(self.folder / f"{key}.png", shared=True) as partial:
                Image.fromarray(pixels.astype(np.uint8) * 255).convert("1").save(partial, "PNG")

    def _write_origin(self, path: Path) -> None:
        if not path.exists():
            with replacing(path, shared=True) as partial:
                partial.write_text(json.dumps(self._origin, indent=2), encoding="utf-8")

    @staticmethod
    def _key(camera: str, rgb: np.ndarray) -> str:
        digest = hashlib.blake2b(np.ascontiguousarray(rgb).tobytes(), digest_size=16)
        digest.update(str(rgb.shape).encode())
        return f"{camera}-{digest.hexdigest()}"
