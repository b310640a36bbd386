"""Files of weights with other objects in them: nothing of these runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2act.core.unread_objects import Unread, plain
from sam2act.core.weight_files import WeightFileError, read_weight_file


class Bomb:
    """Would make a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


class DictConfig:
    """The form in which omegaconf pickles its containers."""

    def __init__(self, content: object) -> None:
        self.__dict__["_content"] = content
        self.__dict__["_metadata"] = Bomb


class AnyNode:
    """The same of its values."""

    def __init__(self, value: object) -> None:
        self._val, self._parent = value, None


def test_tensors_and_plain_values_are_read_and_the_rest_is_not(tmp_path: Path) -> None:
    path = tmp_path / "payload.ckpt"
    weights = {"a": torch.randn(3, 2), "b": torch.nn.Parameter(torch.arange(3.0))}
    sizes = DictConfig({"depth": AnyNode(12), "names": DictConfig([AnyNode("x"), AnyNode(None)])})
    content = {
        "state": weights,
        "bomb": Bomb(tmp_path / "made"),
        "cfg": sizes,
        "pickles": {"epoch": pickle.dumps(Bomb(tmp_path / "made"))},
        "function": os.system,
    }
    torch.save(content, path)
    with pytest.raises(WeightFileError, match="objects other than tensors"):
        read_weight_file(path)
    found = read_weight_file(path, objects=True)
    assert not (tmp_path / "made").exists()
    assert torch.equal(found["state"]["a"], weights["a"])
    assert torch.equal(found["state"]["b"].data, weights["b"].data)
    assert isinstance(found["bomb"], Unread) and not isinstance(found["function"], type(os.system))
    assert plain(found["cfg"]) == {"depth": 12, "names": ["x", None]}


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "payload.ckpt"
    torch.save({"bomb": Bomb(tmp_path / "made")}, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WeightFileError, match=str(path)):
        read_weight_file(path, objects=True)
