"""Released checkpoints of UVA: `{cfg, state_dicts: {model, ema_model, optimizer}, pickles}`.

They are written with dill, and reading them so would run whatever they say; here nothing but
tensors and plain values is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.core.unread_objects import plain
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import unwrapped

STATES, AVERAGED, TRAINED = "state_dicts", "ema_model", "model"
NORMALISER = "normalizer.params_dict.{}.{}"


def read_released(path: str | Path) -> dict[str, Any]:
    """The content of a released checkpoint: `cfg` as plain values, `state` with its tensors, the
    averaged ones where there are any.

    Raises:
        ConfigError: the file is absent, damaged or something else.
    """
    try:
        content = read_weight_file(path, objects=True)
    except WeightFileError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(content, dict) or not isinstance(content.get(STATES), Mapping):
        raise ConfigError(f"{path}: has no entry {STATES}; name a released checkpoint of UVA")
    return {"cfg": plain(content.get("cfg")), "state": released_state(content, str(path))}


def released_state(content: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    """The tensors of a released checkpoint: averaged ones where there are any.

    Raises:
        ConfigError: it holds none.
    """
    for entry in (AVERAGED, TRAINED):
        state = content[STATES].get(entry)
        if isinstance(state, Mapping) and state:
            return unwrapped({k: v for k, v in state.items() if isinstance(v, Tensor)})
    raise ConfigError(f"{path}: {STATES} holds neither {AVERAGED} nor {TRAINED}")


def action_scaling(state: Mapping[str, Tensor], key: str = "action") -> dict[str, Tensor]:
    """Shift and scale of `normalise_actions`, (A,) float64 each.

    The released normaliser computes value * scale + offset, ours (value - shift) / scale.

    Raises:
        ConfigError: the checkpoint holds no normaliser.
    """
    parts = [state.get(NORMALISER.format(key, name)) for name in ("scale", "offset")]
    if any(part is None for part in parts):
        raise ConfigError(f"the checkpoint holds no {NORMALISER.format(key, 'scale')}")
    scale, offset = (torch.as_tensor(part).double() for part in parts)
    return {"shift": -offset / scale, "scale": 1 / scale}
