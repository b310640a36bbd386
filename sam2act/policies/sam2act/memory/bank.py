"""The memories of a batch of environments or sequences: explicit state, passed in and out.

Slot 0 is the most recent frame; slot t takes row t of the temporal encoding. Legend: B
environments (or sequences), R slots, V views, N tokens of a view, D memory width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class MemoryBank:
    """Memories of B environments, bounded by `capacity`.

    In evaluation all slots exist from the start and every environment is at its own step. In
    training all sequences are at the same step and slots are added as frames arrive.

    The published bank keeps a whole episode and reads the newest `num_maskmem` frames; keeping
    only those gives the same output in bounded memory (quirk N13).
    """

    frames: Tensor  # (B, R, V, N, D), newest first
    count: Tensor | None  # (B,) int64, filled slots; None = all slots are filled
    capacity: int

    @classmethod
    def for_environments(
        cls, batch: int, capacity: int, shape: tuple[int, int, int], like: Tensor
    ) -> MemoryBank:
        """No memories yet, all slots allocated; `shape` is (V, N, D)."""
        count = torch.zeros(batch, dtype=torch.int64, device=like.device)
        return cls(like.new_zeros(batch, capacity, *shape), count, capacity)

    @classmethod
    def for_windows(
        cls, batch: int, capacity: int, shape: tuple[int, int, int], like: Tensor
    ) -> MemoryBank:
        """No memories yet and no slots; they grow with each frame."""
        return cls(like.new_zeros(batch, 0, *shape), None, capacity)

    @property
    def slots(self) -> int:
        """Slots that exist."""
        return self.frames.shape[1]

    def filled(self) -> Tensor | None:
        """(B, R) bool: which slots hold a memory; None = all. An empty bank shows slot 0, so that
        attention stays finite; its result is discarded."""
        if self.count is None:
            return None
        slot = torch.arange(self.slots, device=self.count.device)
        return slot < self.count.clamp(min=1)[:, None]

    def push(self, frame: Tensor, rule: str = "fifo") -> MemoryBank:
        """The bank with one more frame; one leaves when it is full.

        Args:
            frame: (B, V, N, D).
            rule: fifo (published) drops the oldest; anchor_recent keeps the first frame of the
                episode in the last slot and drops the second oldest.
        """
        moved = torch.cat([frame[:, None].to(self.frames.dtype), self.frames], dim=1)
        overflows = moved.shape[1] > self.capacity
        moved = moved[:, : self.capacity]
        if rule == "anchor_recent" and overflows and self.capacity > 1:
            anchor = self.frames[:, -1]
            if self.count is not None:
                full = (self.count == self.capacity).view(-1, 1, 1, 1)
                anchor = torch.where(full, anchor, moved[:, -1])
            moved = torch.cat([moved[:, :-1], anchor[:, None]], dim=1)
        count = None if self.count is None else (self.count + 1).clamp(max=self.capacity)
        return MemoryBank(moved, count, self.capacity)

    def reset(self, rows: Tensor) -> MemoryBank:
        """The bank with the environments `rows` (indices) emptied: the start of an episode."""
        assert self.count is not None, "windows start with a bank of their own"
        frames, count = self.frames.clone(), self.count.clone()
        frames[rows], count[rows] = 0, 0
        return replace(self, frames=frames, count=count)

    def select(self, rows: Tensor) -> MemoryBank:
        """The memories of the environments `rows` (indices)."""
        count = None if self.count is None else self.count[rows]
        return replace(self, frames=self.frames[rows], count=count)

    def put(self, rows: Tensor, other: MemoryBank) -> MemoryBank:
        """The bank with the environments `rows` (indices) taken from `other`, in that order."""
        assert self.count is not None and other.count is not None
        frames, count = self.frames.clone(), self.count.clone()
        frames[rows], count[rows] = other.frames, other.count
        return replace(self, frames=frames, count=count)
