"""Words that messages of every part share."""

from __future__ import annotations

from collections.abc import Iterable


def listing(items: Iterable[object], most: int = 10) -> str:
    """Up to `most` items in their order, then how many more there are."""
    names = [str(item) for item in items]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
