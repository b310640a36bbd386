"""Small replay buffers in Diffusion Policy's layout, as other programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = (5, 3, 7)
SIDE = 8


def buffer_arrays() -> dict[str, np.ndarray]:
    """Frame n has the colour n; its action is (n, -n), its state (n, 2n, 3n)."""
    rows = np.arange(sum(LENGTHS))
    return {
        "img": np.broadcast_to(rows[:, None, None, None], (len(rows), SIDE, SIDE, 3)).astype("f4"),
        "state": np.stack([rows, 2 * rows, 3 * rows], axis=1).astype("f4"),
        "action": np.stack([rows, -rows], axis=1).astype("f4"),
    }


def write_buffer(
    path: Path, arrays: dict[str, np.ndarray], ends: Any = None, form: int = 2, **attributes: Any
) -> None:
    """A store of zarr format `form`, in chunks of four frames."""
    import zarr

    group = zarr.open_group(str(path), mode="w", zarr_format=form)
    group.attrs.update(attributes)
    data, meta = group.create_group("data"), group.create_group("meta")
    for key, values in arrays.items():
        data.create_array(key, data=values, chunks=(4, *values.shape[1:]))
    ends = np.cumsum(LENGTHS) if ends is None else np.asarray(ends)
    meta.create_array("episode_ends", data=ends.astype("i8"))
