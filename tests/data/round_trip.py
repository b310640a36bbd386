"""Whether two folders of demos hold the same, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sam2act.data.rlbench.demo_images import read_picture
from sam2act.data.rlbench.types import load_restricted


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal values of equal types, in arrays and containers too."""
    assert type(one) is type(other), where
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert np.array_equal(one, other), where
    elif isinstance(one, dict):
        assert set(one) == set(other), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}[{index}]")
    else:
        assert one == other, where


def assert_same_demos(one: Path, other: Path) -> None:
    """Equal pickles and pictures of every episode below two folders `episodes/`."""
    names = sorted(path.name for path in one.iterdir())
    assert names and names == sorted(path.name for path in other.iterdir())
    for name in names:
        left, right = (load_restricted(p / name / "low_dim_obs.pkl") for p in (one, other))
        assert len(left) == len(right)
        assert_same(*((demo.random_seed, demo.variation_number) for demo in (left, right)))
        for frame, (first, second) in enumerate(zip(left, right, strict=True)):
            empty = {key for key, value in vars(second).items() if value is None}  # of images
            wanted = {k: v for k, v in vars(first).items() if v is not None or k not in empty}
            known = {k: v for k, v in vars(second).items() if k in wanted}
            assert_same(wanted, known, f"frame {frame}")
        for file in ("variation_descriptions.pkl", "variation_number.pkl"):
            assert_same(load_restricted(one / name / file), load_restricted(other / name / file))
        pictures = sorted(path.relative_to(one / name) for path in (one / name).rglob("*.png"))
        found = sorted(path.relative_to(other / name) for path in (other / name).rglob("*.png"))
        assert pictures == found
        for path in pictures:
            kind = "rgb" if "_rgb" in str(path) else "depth"
            same = (read_picture(folder / name / path, kind) for folder in (one, other))
            assert np.array_equal(*same), path
