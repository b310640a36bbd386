"""What a component's dataclass of keys is made of; it stands beside the component.

One field is one key: its name, its type (which decides how text is read), its default. What the
values must satisfy is checked in `__post_init__`, and nowhere else.
"""

from __future__ import annotations

from dataclasses import Field, dataclass
from typing import Annotated, Any, ClassVar, Protocol

# What the annotation of a key says beyond its type.
NAMES, WEIGHTS = "names", "weights"
NameList = Annotated[str, NAMES]  # names separated by commas; a list is joined
WeightsFile = Annotated[str, WEIGHTS]  # found by the rule of core/weights.py


class PolicyConfig(Protocol):
    """The `Config` of any policy: a dataclass of keys, one of which names the policy."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def policy(self) -> str:
        """The name of the policy."""
        ...


@dataclass(frozen=True)
class ComponentConfig:
    """Base of dataclasses whose keys stand side by side in one file.

    A policy's `Config` inherits the dataclasses of the components that it consists of, and each
    component reads its own keys from it. A subclass that checks values calls
    `super().__post_init__()` first, so that the checks of all of them run.
    """

    def __post_init__(self) -> None:
        """Check nothing: the end of the chain."""
