"""What a component's dataclass of keys is made of; it stands beside the component.

One field is one key: its name, its type (which decides how text is read), its default. What the
values must satisfy is checked in `__post_init__`, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

# What the annotation of a key says beyond its type.
NAMES, WEIGHTS = "names", "weights"
NameList = Annotated[str, NAMES]  # names separated by commas; a list is joined
WeightsFile = Annotated[str, WEIGHTS]  # found by the rule of core/weights.py


@dataclass(frozen=True)
class ComponentConfig:
    """Base of dataclasses whose keys stand side by side in one file.

    A policy's `Config` inherits the dataclasses of the components that it consists of, and each
    component reads its own keys from it. A subclass that checks values calls
    `super().__post_init__()` first, so that the checks of all of them run.
    """

    def __post_init__(self) -> None:
        """Check nothing: the end of the chain."""
