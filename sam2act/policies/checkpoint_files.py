"""Checkpoint files: writing them whole, reading them soundly.

A file holds the four published entries `epoch`, `model_state`, `optimizer_state` and
`lr_sched_state`; whatever this project adds stands under `extra`. Loading a published file never
needs `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam2act.core.errors import UserError
from sam2act.core.files import replacing
from sam2act.core.run_folder import epochs_beside
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import WeightsError, require_finite, unwrapped
from sam2act.core.wording import listing
from sam2act.policies.hub_folder import WEIGHTS, HubFolderError, with_hub_config


class CheckpointError(UserError):
    """A checkpoint cannot be read; the message names the file and the remedy."""


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write atomically: a crash leaves the old file or the new one, never half of one."""
    with replacing(path) as partial, open(partial, "wb") as stream:
        torch.save(dict(content), stream)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, on the CPU, its weights without prefixes of wrappers.

    Only tensors and plain containers are read: a pickle can run any code. A file with nothing but
    weights is read as its `model_state`. A folder of `sam2act export` is read by its name or by
    that of the file of weights in it.

    Raises:
        CheckpointError: absent, damaged, not a checkpoint, or its weights are not finite. The
            message says which, and names the newest sound checkpoint beside it.
    """
    path = Path(path)
    if (path / WEIGHTS).is_file():
        path = path / WEIGHTS
    if not path.exists():
        raise CheckpointError(f"no checkpoint {path}; {_others(path.parent)}")
    try:
        return _read_sound(path)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {error}{_way_on(path)}") from error.__cause__


def _read_sound(path: Path) -> dict[str, Any]:
    try:
        content = read_weight_file(path)
    except WeightFileError as error:
        raise CheckpointError(str(error)) from error
    if isinstance(content, dict) and "model_state" not in content and _is_state(content):
        content = _with_configs(path, {"model_state": content})
    if not isinstance(content, dict) or not isinstance(content.get("model_state"), Mapping):
        entries = f", but {listing(sorted(map(str, content)))}" if isinstance(content, dict) else ""
        raise CheckpointError(
            f"{path} has no entry `model_state`{entries}; name a checkpoint of SAM2Act (weights of "
            "SAM2 belong to the key sam2_ckpt, those of CLIP to language.weights_path)"
        )
    try:
        state = unwrapped(content["model_state"])
        require_finite(state)
        extra = _sound_extra(path, content)
        require_finite((extra.get("average") or {}).get("average", {}))
    except WeightsError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return {**content, "model_state": state, **({"extra": extra} if "extra" in content else {})}


def _with_configs(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    try:
        return with_hub_config(path, content)
    except HubFolderError as error:
        raise CheckpointError(str(error)) from error


def _sound_extra(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The entry `extra`; {} where there is none, as in published files."""
    extra = content.get("extra") or {}
    sections = ("average", "experiment", "network")
    whole = isinstance(extra, Mapping) and ("experiment" in extra) == ("network" in extra)
    if not whole or not all(isinstance(extra.get(x) or {}, Mapping) for x in sections):
        raise CheckpointError(
            f"{path}: its entry `extra` is not what this project writes there; save the file "
            "again without it"
        )
    average = extra.get("average")
    if average and not isinstance(average.get("average"), Mapping):
        raise CheckpointError(
            f"{path}: `extra.average` holds no averaged weights, but "
            f"{listing(sorted(map(str, average)))}; save the file again without it"
        )
    return dict(extra)


def _others(folder: Path) -> str:
    """Which checkpoints `folder` holds, in words."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(path.name for path in folder.glob("*.pth"))
    return f"{folder} holds {listing(names)}" if names else f"{folder} holds no .pth file"


def _way_on(path: Path) -> str:
    """Names the newest sound checkpoint of the same run; "" if there is none."""
    for _, other in sorted(epochs_beside(path).items(), reverse=True):
        if other == path:
            continue
        try:
            _read_sound(other)
        except CheckpointError:
            continue
        return (
            f". {other} beside it is sound: to go on training from it add `resume {other}` to "
            f"--exp_cfg_opts, to evaluate it name {other.name}"
        )
    return ""


def _is_state(content: Mapping[str, Any]) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())
