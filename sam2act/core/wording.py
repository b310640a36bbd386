"""Words that messages of every part share."""

from __future__ import annotations

from collections.abc import Iterable


def listing(items: Iterable[object], most: int = 10) -> str:
    """Up to `most` items in their order, then how many more there are."""
    names = [str(item) for item in items]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def uneven_windows(rows: int, window: int) -> str:
    """The complaint about a batch that is no whole number of windows of keyframes."""
    return (
        f"bs: {rows} is not a multiple of the window of {window} keyframes (num_maskmem + 1); set "
        f"bs to {window * max(1, round(rows / window))} or change num_maskmem"
    )
