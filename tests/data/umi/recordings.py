"""Small stores in the form of UMI's recordings."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from tests.data.zarr.buffers import write_buffer

LENGTHS = (90, 79)  # frames
SIDE = 16


def arrays() -> dict[str, np.ndarray]:
    """Frame n has the colour n; the gripper moves along x and turns about z."""
    rows = np.arange(sum(LENGTHS))
    zeros = np.zeros(len(rows))
    starts = np.repeat(np.cumsum((0, *LENGTHS[:-1])), LENGTHS)
    position = np.stack([0.002 * rows, zeros, zeros + 0.1], axis=1)
    turn = np.stack([zeros, zeros, 0.01 * rows], axis=1)
    return {
        "camera0_rgb": np.broadcast_to(
            rows[:, None, None, None], (len(rows), SIDE, SIDE, 3)
        ).astype(np.uint8),
        "robot0_eef_pos": position.astype("f4"),
        "robot0_eef_rot_axis_angle": turn.astype("f4"),
        "robot0_gripper_width": (0.08 - 0.0003 * rows)[:, None].astype("f4"),
        "robot0_demo_start_pose": np.concatenate([position, turn], axis=1)[starts],
    }


def write_recordings(path: Path, **changes: np.ndarray | None) -> Path:
    """A store; arrays that are None in `changes` are left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {name: value for name, value in (arrays() | changes).items() if value is not None}
    write_buffer(path, found, np.cumsum(LENGTHS))
    return path


def pack(store: Path, archive: Path, inside: str) -> None:
    """A tar.lz4 archive that holds `store` as `inside`."""
    import lz4.frame

    with lz4.frame.open(archive, "wb") as file, tarfile.open(fileobj=file, mode="w|") as files:
        files.add(store, inside)
