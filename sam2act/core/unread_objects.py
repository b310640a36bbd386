"""An unpickler that runs nothing: objects it does not know become `Unread`.

It knows tensors and plain containers. Of the containers of omegaconf the content is kept, see
`plain`.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

_TENSORS = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("collections", "OrderedDict"),
}
_STORAGES = ("torch", "torch.storage")
_CONTENT, _VALUE = "_content", "_val"  # of containers and of nodes of omegaconf


class Unread:
    """Stands for an object, a class or a function that is not read."""

    state: Any = None

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Take nothing."""

    def __setstate__(self, state: object) -> None:
        """Keep what the object would have been built from."""
        self.state = state

    def __call__(self, *args: object, **kwargs: object) -> Unread:
        """Another one: what would have been called is not."""
        return Unread()

    def append(self, item: object) -> None:
        """Forget an item."""

    def extend(self, items: object) -> None:
        """Forget items."""

    def __setitem__(self, key: object, value: object) -> None:
        """Forget an entry."""


class Unpickler(pickle.Unpickler):
    """Finds tensors and plain containers, and `Unread` for all else."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle refers to."""
        storage = module in _STORAGES and name.endswith("Storage")
        if storage or (module, name) in _TENSORS:
            return super().find_class(module, name)
        return Unread


def plain(value: Any) -> Any:
    """A configuration of omegaconf that was not read, as plain containers and values."""
    if isinstance(value, Unread):
        state = value.state if isinstance(value.state, Mapping) else {}
        return plain(state.get(_CONTENT, state.get(_VALUE)))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
