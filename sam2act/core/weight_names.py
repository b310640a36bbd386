"""What tensors a file holds: wrapper prefixes, values that are no numbers, names that do not fit.

Messages list at most ten names and then a count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sam2act.core.errors import UserError
from sam2act.core.wording import listing

EXAMPLES = 10  # names that are looked at for a common prefix


class WeightsError(UserError):
    """A file does not fit the network, or its values are no weights; the message names tensors."""


# ---------------------------------------------------------------------------------------- names
def unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    """`state` without the parts that wrappers put into names.

    Those are `module.` of DistributedDataParallel, at the start, and `_orig_mod.` of
    torch.compile, anywhere.

    Raises:
        WeightsError: two tensors get the same name.
    """
    plain: dict[str, Any] = {}
    for name, value in state.items():
        short = _unwrapped_name(name)
        if short in plain and short != name:
            raise WeightsError(f"the file holds {short} twice, with and without a wrapper's prefix")
        plain[short] = value
    return plain


def _unwrapped_name(name: str) -> str:
    parts = [part for part in str(name).split(".") if part != "_orig_mod"]
    while parts[:1] == ["module"] and len(parts) > 1:
        parts = parts[1:]
    return ".".join(parts)


def prefix_hint(found: Collection[str], expected: Collection[str]) -> str:
    """The prefix that explains why most of `found` is not `expected`; "" if there is none."""
    wanted = set(expected)
    extra = _common_prefix([name for name in found if name not in wanted], wanted)
    if extra:
        return f"names in the file begin with `{extra}`: take it off"
    present = set(found)
    lost = _common_prefix([name for name in expected if name not in present], present)
    return f"names in the file lack the beginning `{lost}`: put it on" if lost else ""


def _common_prefix(names: list[str], targets: set[str]) -> str:
    """A prefix without which more than half of `names` are in `targets`."""
    for example in names[:EXAMPLES]:
        start = example.find(".") + 1
        while start:
            prefix = example[:start]
            hits = sum(x.startswith(prefix) and x[len(prefix) :] in targets for x in names)
            if 2 * hits > len(names):
                return prefix
            start = example.find(".", start) + 1
    return ""


# --------------------------------------------------------------------------------------- values
def mismatch(name: str, value: Any, target: Tensor) -> str:
    """Why `value` cannot become `target`; "" if it can. Floating types convert into each other."""
    if not isinstance(value, Tensor):
        return f"{name} is no tensor but {type(value).__name__}"
    if value.shape != target.shape:
        return f"{name} {tuple(value.shape)}, not {tuple(target.shape)}"
    same_kind = value.is_floating_point() == target.is_floating_point()
    if value.is_quantized or value.is_complex() or not same_kind:
        return f"{name} {_type(value)}, not {_type(target)}"
    return ""


def misfit(found: Mapping[str, Any], expected: Mapping[str, Tensor]) -> str:
    """What keeps `found` from being loaded as `expected`, in one line; "" if nothing does."""
    complaints = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "mismatched": [
            text
            for name in expected
            if name in found and (text := mismatch(name, found[name], expected[name]))
        ],
    }
    return describe_misfit(complaints, found, expected)


def describe_misfit(
    complaints: Mapping[str, list[str]], found: Collection[str], expected: Collection[str]
) -> str:
    """Names by kind of complaint, at most ten of each, and the prefix that explains them."""
    parts = [f"{len(x)} {title}: {listing(sorted(x))}" for title, x in complaints.items() if x]
    hint = prefix_hint(found, expected) if parts else ""
    return "; ".join([*([hint] if hint else []), *parts])


def require_finite(tensors: Mapping[str, Any]) -> None:
    """Raise `WeightsError` that names the tensors with NaN or infinite values.

    One pass over the values; tensors that share storage are looked at once.
    """
    seen: set[tuple[Any, ...]] = set()
    bad = []
    for name, value in tensors.items():
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
            continue
        place = (value.data_ptr(), value.storage_offset(), value.shape)
        if place not in seen and not _finite(value):
            bad.append(name)
        seen.add(place)
    if bad:
        tensors_are = "1 tensor holds" if len(bad) == 1 else f"{len(bad)} tensors hold"
        raise WeightsError(f"{tensors_are} NaN or infinite values: {listing(sorted(bad))}")


def _finite(value: Tensor) -> bool:
    value = value.detach()
    if value.element_size() < 2:  # 8-bit floats know few operations
        value = value.float()
    return bool(torch.isfinite(torch.stack(torch.aminmax(value))).all())  # both carry NaN along


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


# --------------------------------------------------------------------------------------- report
@dataclass
class LoadReport:
    """What happened to each tensor of a file."""

    loaded: list[str] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)  # kept for saving, unused here
    absent: list[str] = field(default_factory=list)  # unused tensors that the file lacks
    fresh: list[str] = field(default_factory=list)  # what starts with its initial values on purpose
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    explanation: str = ""  # of missing and unexpected tensors, where names differ by a prefix

    @property
    def complete(self) -> bool:
        """True if every tensor of the file and of the network is accounted for."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        lines = [
            f"{len(self.loaded)} tensors loaded, {len(self.carried)} carried unused, "
            f"{len(self.absent)} unused ones absent"
        ]
        if self.fresh:
            lines.append(f"{len(self.fresh)} start fresh: {listing(sorted(self.fresh))}")
        return "\n".join([*lines, *([self.explanation] if self.explanation else [])])
