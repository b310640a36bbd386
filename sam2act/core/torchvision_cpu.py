"""Makes a torchvision built for CUDA importable next to a CPU-only torch.

Such a pair installs without complaint, but `import torchvision` fails, and with it open_clip, timm,
peft and transformers. Call `ensure_torchvision_importable` before importing any of these.
"""

from __future__ import annotations

import functools
import importlib
import sys
from importlib.util import find_spec

from torch import library

NMS_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
MISSING_OPERATOR = "torchvision::nms"


def ensure_torchvision_importable() -> bool:
    """Imports torchvision, supplying the operator schemas that a CPU-only torch lacks.

    The schemas are defined only after the import has failed for want of them: next to a working
    torchvision a second definition would abort the process.

    Returns:
        False if torchvision is not installed, True once it is imported.

    Raises:
        RuntimeError: the import fails for another reason.
    """
    if find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if MISSING_OPERATOR not in str(error):
            raise
        _forget_torchvision()
        _operator_schemas()
        importlib.import_module("torchvision")
    return True


def _forget_torchvision() -> None:
    """Removes what a failed import has left behind."""
    for name in list(sys.modules):
        if name == "torchvision" or name.startswith("torchvision."):
            del sys.modules[name]


@functools.cache  # the definitions vanish with the library object, so it must stay alive
def _operator_schemas() -> library.Library:
    schemas = library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        schemas.define(operator + NMS_SIGNATURE)
    return schemas
