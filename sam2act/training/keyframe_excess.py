"""How far the coarse heat maps are from their targets, by the index of the target keyframe.

The excess loss of a decision that the observation settles falls to zero; where n positions look
equally right it stays at log(n), until a memory tells them apart.

Legend: B sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sam2act.core.types import SampleIdentity
from sam2act.runtime.distributed import DistributedContext

COLUMN = "excess_keyframe_"
KEYFRAMES = 32  # later keyframes of a demo are left out


class KeyframeExcess:
    """Sum and count of the excess loss per keyframe index since the last reading.

    Both stay on the device until they are read, so adding does not wait for it.
    """

    def __init__(self, device: torch.device) -> None:
        # The last row takes what has no index of its own.
        self._table = torch.zeros(KEYFRAMES + 1, 2, device=device)

    def add(self, excess: Tensor | None, identities: Sequence[SampleIdentity]) -> None:
        """Add the samples of one batch.

        Args:
            excess: (B,) of `LossOutput`; NaN = the sample has no target map. None adds nothing.
            identities: of the B samples.
        """
        if excess is None:
            return
        on_gpu = excess.device.type == "cuda"
        rows = torch.tensor(
            [i.keyframe if 0 <= i.keyframe < KEYFRAMES else KEYFRAMES for i in identities],
            pin_memory=on_gpu,  # else the copy would wait
        )
        known = ~excess.isnan()
        sums = torch.stack([excess.where(known, 0.0), known.to(excess)], dim=1)
        self._table.index_add_(0, rows.to(excess.device, non_blocking=True), sums)

    def join(self, world: DistributedContext) -> None:
        """Take in the samples of the other processes; all of them take part."""
        world.sum(self._table)

    def read(self) -> dict[int, float]:
        """Mean per keyframe index seen since the last call, increasing; waits for the device."""
        rows = self._table[:KEYFRAMES].tolist()
        self._table.zero_()
        return {index: total / count for index, (total, count) in enumerate(rows) if count}


def keyframe_excess(tasks: Sequence[str], device: torch.device) -> KeyframeExcess | None:
    """The table of a run; None with several tasks, whose indices mean unrelated decisions."""
    return KeyframeExcess(device) if len(tasks) == 1 else None


def excess_columns(means: Mapping[int, float], prefix: str = "") -> dict[str, float]:
    """The means by the names of their columns."""
    return {f"{prefix}{COLUMN}{index}": mean for index, mean in means.items()}


def largest_excess(means: Mapping[int, float]) -> str:
    """The largest mean in words; empty without means."""
    if not means:
        return ""
    index = max(means, key=lambda key: means[key])
    return f"largest_excess {means[index]:.2f} at keyframe {index}"
