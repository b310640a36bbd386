"""Statistics of the features of an episode, and of several together, in LeRobot's form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
SAMPLED_PICTURES = 20  # of an episode

Statistics = dict[str, np.ndarray]


def of_numbers(values: np.ndarray) -> Statistics:
    """Statistics over the frames (T, ...) of an episode; each (...) but at least (1,)."""
    values = values.reshape(len(values), -1) if values.ndim == 1 else values
    return _of(values.astype(np.float64), len(values))


def of_pictures(pictures: np.ndarray) -> Statistics:
    """Statistics per channel of (F, H, W, 3) uint8, as fractions of 255: each (3, 1, 1)."""
    pixels = pictures.reshape(-1, 3).astype(np.float64) / 255.0
    found = _of(pixels, len(pictures))
    return {n: v if n == "count" else v.reshape(3, 1, 1) for n, v in found.items()}


def sampled(length: int) -> list[int]:
    """Frames whose pictures are looked at, evenly over an episode."""
    return sorted({*np.linspace(0, length - 1, SAMPLED_PICTURES).round().astype(int).tolist()})


def together(parts: list[Mapping[str, np.ndarray]]) -> Statistics:
    """Those of several episodes as one; quantiles are means weighted by frames, as in LeRobot."""
    count = np.array([part["count"][0] for part in parts], np.float64)
    weights = count / count.sum()

    def mean(values: list[np.ndarray]) -> np.ndarray:
        return np.tensordot(weights, np.stack(values), axes=1)

    means = [part["mean"] for part in parts]
    total = mean(means)
    spread = [p["std"] ** 2 + (m - total) ** 2 for p, m in zip(parts, means, strict=True)]
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": total,
        "std": np.sqrt(mean(spread)),
        "count": np.array([int(count.sum())]),
        **{name: mean([part[name] for part in parts]) for name in QUANTILES},
    }


def _of(values: np.ndarray, count: int) -> Statistics:
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([count]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }
