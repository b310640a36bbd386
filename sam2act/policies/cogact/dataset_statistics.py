"""The file `dataset_statistics.json` of a CogACT run, and what it does to predicted actions.

The published form is `{name: {"action": {"q01", "q99", "mask", "mean", "std", "min", "max"},
"num_transitions", "num_trajectories"}}`; further entries of a data set are kept as they are.
Legend: H actions, A numbers of an action, N actions of a data set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing
from sam2act.core.wording import listing

FILE_NAME = "dataset_statistics.json"
NEEDED, OPTIONAL = ("q01", "q99"), ("mean", "std", "min", "max")
QUANTILES = (0.01, 0.99)
GRIPPER_DIM = 6  # of the seven published numbers of an action
OPEN_FROM = 0.5  # normalised openings from here on are 1, smaller ones 0

Statistics = dict[str, dict[str, Any]]  # the content of the file
Floats = NDArray[np.floating[Any]]


def read_statistics(path: Path) -> Statistics:
    """The content of a file, checked.

    Raises:
        ConfigError: it is absent, no JSON, or of another form; the message names the entry.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist; it belongs to the checkpoint and lies in its run folder"
        ) from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is no readable JSON file ({reason}); get it again") from error
    return checked_statistics(content, str(path))


def checked_statistics(content: Any, source: str) -> Statistics:
    """`content`, if it has the published form.

    Raises:
        ConfigError: it has not; the message begins with `source` and names the entry.
    """
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{source}: expected {{data set: statistics}}, got {_shown(content)}")
    for name, entry in content.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("action"), dict):
            raise ConfigError(f"{source}: {name}: expected an entry `action` with q01 and q99")
        _check_action(entry["action"], f"{source}: {name}: action")
    return content


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Replaces the file at once.

    Raises:
        ConfigError: `statistics` have another form.
        OSError: it cannot be written.
    """
    checked_statistics(statistics, str(path))
    with replacing(path) as draft:
        draft.write_text(json.dumps(statistics, indent=2) + "\n", encoding="utf-8")


def fit_statistics(actions: Floats, mask: list[bool], trajectories: int) -> dict[str, Any]:
    """The entry of a data set.

    Args:
        actions: (N, A) in their units.
        mask: (A,) which numbers are normalised.
        trajectories: number of episodes.

    Raises:
        ConfigError: there are no actions, they are not finite, or the mask has another length.
    """
    if actions.ndim != 2 or not len(actions) or not np.isfinite(actions).all():
        raise ConfigError(f"actions: expected finite (N, A), got shape {actions.shape}")
    if len(mask) != actions.shape[1]:
        raise ConfigError(f"mask: {len(mask)} entries for actions of {actions.shape[1]} numbers")
    low, high = np.quantile(actions, QUANTILES, axis=0)
    rows = {
        "mean": actions.mean(0),
        "std": actions.std(0),
        "max": actions.max(0),
        "min": actions.min(0),
        "q01": low,
        "q99": high,
    }
    action = {name: [float(value) for value in row] for name, row in rows.items()}
    return {
        "action": {**action, "mask": [bool(value) for value in mask]},
        "num_transitions": len(actions),
        "num_trajectories": trajectories,
    }


def action_entry(statistics: Mapping[str, Any], unnorm_key: str | None) -> dict[str, Any]:
    """The statistics of the actions of one data set.

    Args:
        statistics: the content of the file.
        unnorm_key: the data set; None if there is only one.

    Raises:
        ConfigError: the key is unknown, or omitted although there are several; the message lists
            them.
    """
    known = listing(sorted(statistics))
    if unnorm_key is None:
        if len(statistics) != 1:
            raise ConfigError(
                f"unnorm_key: the model knows {len(statistics)} data sets, so one must be named: "
                f"{known}"
            )
        unnorm_key = next(iter(statistics))
    if unnorm_key not in statistics:
        raise ConfigError(f"unnorm_key: {unnorm_key!r} is unknown; the model knows {known}")
    entry: dict[str, Any] = statistics[unnorm_key]["action"]
    return entry


def bounded(normalised: Floats, gripper_dim: int | None = GRIPPER_DIM) -> Floats:
    """Predicted actions (..., A) within -1 to 1 and with a gripper that is 0 or 1."""
    actions = np.clip(normalised, -1, 1)
    if gripper_dim is not None:
        actions[..., gripper_dim] = np.where(actions[..., gripper_dim] < OPEN_FROM, 0, 1)
    return actions


def unnormalised(actions: Floats, entry: Mapping[str, Any]) -> Floats:
    """Actions (..., A) in their units: (a + 1) / 2 (q99 - q01) + q01, where the mask says so.

    Raises:
        ConfigError: the statistics are of other numbers.
    """
    low, high = np.asarray(entry["q01"]), np.asarray(entry["q99"])
    mask = np.asarray(entry.get("mask", np.ones_like(low)), dtype=bool)
    if actions.shape[-1] != len(low):
        raise ConfigError(
            f"unnorm_key: statistics of {len(low)} numbers, but actions have {actions.shape[-1]}; "
            "choose a data set of this robot"
        )
    scaled: Floats = np.where(mask, 0.5 * (actions + 1) * (high - low) + low, actions)
    return scaled


def normalised(actions: Floats, entry: Mapping[str, Any]) -> Floats:
    """Actions (..., A) on the scale of the head: quantiles at -1 and 1, clipped; the rest stays.

    Numbers whose quantiles are equal become 0.
    """
    low, high = np.asarray(entry["q01"], float), np.asarray(entry["q99"], float)
    mask = np.asarray(entry.get("mask", np.ones_like(low)), dtype=bool)
    width = high - low
    scaled = 2 * (actions - low) / np.where(width == 0, 1, width) - 1
    scaled = np.where(width == 0, 0, scaled)
    return np.where(mask, np.clip(scaled, -1, 1), actions)


def _check_action(action: dict[str, Any], source: str) -> None:
    for name in NEEDED:
        if name not in action:
            raise ConfigError(f"{source}: {name} is missing")
    size = len(action["q01"]) if isinstance(action["q01"], list) else 0
    for name in (*NEEDED, *OPTIONAL):
        if name not in action:
            continue
        values = action[name]
        if not size or not isinstance(values, list) or len(values) != size:
            raise ConfigError(f"{source}: {name}: expected {size or 'some'} numbers in a list")
        for value in values:
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ConfigError(f"{source}: {name}: {value!r} is no finite number")
    mask = action.get("mask", [True] * size)
    if not isinstance(mask, list) or [type(value) for value in mask] != [bool] * size:
        raise ConfigError(f"{source}: mask: expected {size} of true and false, got {mask!r}")


def _shown(content: Any) -> str:
    return "nothing" if content in ({}, None) else type(content).__name__
