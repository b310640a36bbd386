"""UVA: one masked autoregressive transformer that imagines the next frames and acts.

`from sam2act.policies.uva import load_uva` gives the published call; nothing is imported before it
is used.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

_CALLS = ("load_uva", "UnifiedVideoActionPolicy")


def __getattr__(name: str) -> Any:
    if name not in _CALLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(f"sam2act.policies.uva.published:{name}")
