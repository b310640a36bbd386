"""Small files of demonstrations in robomimic's layout, as LIBERO and robomimic write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = (30, 26)
SIDE = 16
DOWN = (np.pi, 0.0, 0.0)  # rotation vector of a gripper that looks down


def poses(number: int) -> np.ndarray:
    """(T, 6): a gripper that moves along x and turns about the vertical, looking down."""
    steps = np.arange(LENGTHS[number])
    table = np.zeros((len(steps), 6))
    table[:, 0], table[:, 1], table[:, 2] = 0.01 * steps, 0.1 * number, 1.0
    table[:, 3:] = DOWN
    return table


def pictures(number: int) -> np.ndarray:
    """(T, SIDE, SIDE, 3) uint8: frame n of demonstration m has the colour 50 m + n, but a bright
    first row."""
    length = LENGTHS[number]
    table = np.zeros((length, SIDE, SIDE, 3), np.uint8)
    table[:] = (50 * number + np.arange(length))[:, None, None, None]
    table[:, 0] = 255
    return table


def targets(number: int) -> np.ndarray:
    """(T, 7) absolute: where the gripper is a step later, then whether it closes (1) or opens."""
    along = poses(number)
    ahead = np.concatenate([along[1:], along[-1:]])
    closing = np.where(np.arange(len(along)) > 10, 1.0, -1.0)
    return np.concatenate([ahead, closing[:, None]], axis=1)


def write_demos(
    path: Path,
    actions: Sequence[np.ndarray],
    observed: Sequence[Mapping[str, np.ndarray]],
    masks: Mapping[str, Sequence[str]] | None = None,
    **attributes: Any,
) -> Path:
    """A file of one demonstration per entry; attributes of `data` are written as JSON texts."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for name, value in attributes.items():
            data.attrs[name] = json.dumps(value)
        for number, (rows, seen) in enumerate(zip(actions, observed, strict=True)):
            group = data.create_group(f"demo_{number}")
            group["actions"] = rows
            for key, values in seen.items():
                group[f"obs/{key}"] = values
        for key, names in (masks or {}).items():
            file[f"mask/{key}"] = np.array(names, dtype="S8")
    return path


def write_libero(path: Path, *, relative: bool = True, **attributes: Any) -> Path:
    """A task of LIBERO; every observation is the one after its action."""
    rows, seen = [], []
    for number in range(len(LENGTHS)):
        along = poses(number)
        rows.append(targets(number))
        if relative:
            steps = np.diff(along, axis=0, prepend=along[:1])
            motion = steps / np.array([0.05] * 3 + [0.5] * 3)
            rows[-1] = np.concatenate([motion, targets(number)[:, 6:]], axis=1)
        names = ("agentview_rgb", "eye_in_hand_rgb")
        seen.append({name: pictures(number) for name in names} | {"ee_states": along})
    return write_demos(path, rows, seen, **attributes)


def write_robomimic(path: Path, rows: Sequence[np.ndarray] = (), **masks: Sequence[str]) -> Path:
    """Demonstrations of tool_hang."""
    seen = [
        {
            "sideview_image": pictures(number),
            "robot0_eef_pos": poses(number)[:, :3],
            "robot0_eef_quat": np.tile([1.0, 0, 0, 0], (LENGTHS[number], 1)),
            "robot0_gripper_qpos": 0.02 * targets(number)[:, [6, 6]],
        }
        for number in range(len(LENGTHS))
    ]
    rows = rows or [targets(number) for number in range(len(LENGTHS))]
    return write_demos(path, rows, seen, masks, env_args={"env_kwargs": {"control_freq": 10}})
