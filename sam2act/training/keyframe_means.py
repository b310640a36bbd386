"""Means of a policy's values per sample, by the index of the keyframe that a sample is to reach.

A loss of all samples hides which decision is hard. SAM2Act, for example, tells the excess of its
coarse heat maps: it falls to zero where the observation settles the decision; where n positions
look equally right it stays at log(n), until a memory tells them apart.

Legend: B sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sam2act.core.types import SampleIdentity
from sam2act.runtime.distributed import DistributedContext

KEYFRAMES = 32  # later keyframes of a demo are left out
Means = Mapping[str, Mapping[int, float]]  # name of a value -> keyframe index -> mean


class KeyframeMeans:
    """Sum and count of every value per keyframe index since the last reading.

    Both stay on the device until they are read, so adding does not wait for it.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        """Without any sample.

        Args:
            names: of the values, as in `LossOutput.per_sample`.
            device: of the values.
        """
        # The last row takes what has no index of its own.
        self._tables = {name: torch.zeros(KEYFRAMES + 1, 2, device=device) for name in names}

    def add(self, per_sample: Mapping[str, Tensor], identities: Sequence[SampleIdentity]) -> None:
        """Add the samples of one batch.

        Args:
            per_sample: name -> (B,); NaN = the sample has no such value. Absent names add nothing.
            identities: of the B samples.
        """
        found = {name: per_sample[name] for name in self._tables if name in per_sample}
        if not found:
            return
        device = next(iter(found.values())).device
        rows = torch.tensor(
            [i.keyframe if 0 <= i.keyframe < KEYFRAMES else KEYFRAMES for i in identities],
            pin_memory=device.type == "cuda",  # else the copy would wait
        ).to(device, non_blocking=True)
        for name, values in found.items():
            known = ~values.isnan()
            sums = torch.stack([values.where(known, 0.0), known.to(values)], dim=1)
            self._tables[name].index_add_(0, rows, sums)

    def join(self, world: DistributedContext) -> None:
        """Take in the samples of the other processes; all of them take part."""
        for table in self._tables.values():
            world.sum(table)

    def read(self) -> dict[str, dict[int, float]]:
        """Means of the keyframe indices seen since the last call, increasing; waits for the device.

        Names of which no value is known are left out.
        """
        means = {}
        for name, table in self._tables.items():
            rows = table[:KEYFRAMES].tolist()
            means[name] = {
                index: total / count for index, (total, count) in enumerate(rows) if count
            }
            table.zero_()
        return {name: by_index for name, by_index in means.items() if by_index}


def keyframe_means(
    tasks: Sequence[str], names: Sequence[str], device: torch.device
) -> KeyframeMeans | None:
    """The tables of a run; None with several tasks, whose indices mean unrelated decisions."""
    return KeyframeMeans(names, device) if len(tasks) == 1 else None


def keyframe_columns(means: Means, prefix: str = "") -> dict[str, float]:
    """The means by the names of their columns."""
    return {
        f"{prefix}{name}_keyframe_{index}": mean
        for name, by_index in means.items()
        for index, mean in by_index.items()
    }


def largest_means(means: Means) -> str:
    """The largest mean of every value in words; empty without means."""
    texts = []
    for name, by_index in means.items():
        index = max(by_index, key=lambda key: by_index[key])
        texts.append(f"largest_{name} {by_index[index]:.2f} at keyframe {index}")
    return "  ".join(texts)
