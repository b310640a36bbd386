"""Where stored expectations and real demos lie, and how a test asks for them.

Golden files come from two folders that hold files of the same form:

* `tests/golden/`, which belongs to the project (its weight salt is always empty; README there);
* the folder named by SAM2ACT_GOLDEN_DIR (default `../shared/golden` seen from the repository
  root), whose weight salt is SAM2ACT_GOLDEN_SALT (default empty).

    @golden("renderer_edge.npz")
    def test_something(golden_file: GoldenFile) -> None:
        arrays = golden_file.arrays()

runs once per folder. A test reads every size, case and frame from the file. A file may hold a
part of a large output: an array called `trans[..., ::3, ::3]` is that part of `trans`. Tests
compare through `find_part`, so that they read both forms.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from tests.places import REPOSITORY

COMMITTED_FOLDER = Path(__file__).resolve().parent / "golden"
SOURCES = ("committed", "external")
Index = tuple[Any, ...]  # of slices and an ellipsis
Array = TypeVar("Array")  # numpy or torch


@dataclass(frozen=True)
class GoldenFile:
    """One stored file together with the weight salt of the folder that it came from."""

    path: Path
    salt: str = ""

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of an npz file, loaded into memory."""
        with np.load(self.path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def json(self) -> Any:
        """The content of a json file, compressed or not."""
        return json.loads(_plain_bytes(self.path))

    def sibling(self, name: str) -> GoldenFile:
        """Another file of the same folder; skips the test if that folder lacks it."""
        path = self.path.with_name(name)
        if not path.exists():
            pytest.skip(f"{name} is absent from {path.parent}")
        return GoldenFile(path, self.salt)


def external_folder() -> Path:
    """The folder of further golden files; it need not exist."""
    default = REPOSITORY.parent / "shared" / "golden"
    return Path(os.environ.get("SAM2ACT_GOLDEN_DIR") or default)


def external_salt() -> str:
    """The weight salt that belongs to `external_folder`."""
    return os.environ.get("SAM2ACT_GOLDEN_SALT", "")


def find(name: str, source: str) -> tuple[GoldenFile, str]:
    """The golden file `name` of `source` ("committed" or "external") and why to skip it.

    The reason is empty when the file is there and worth running. A committed file whose content
    the external one holds too, whole, is skipped, so that it runs once.
    """
    committed, external = committed_path(name), external_folder() / name
    if source == "external":
        reason = "" if external.exists() else f"{name} is absent from {external.parent}"
        return GoldenFile(external, external_salt()), reason
    if not committed.exists():
        reason = f"{name} is absent from tests/golden"
    elif not external_salt() and external.exists() and _holds(external, committed):
        reason = f"the external {name} is identical to the committed one, or holds more of it"
    else:
        reason = ""
    return GoldenFile(committed), reason


def committed_path(name: str) -> Path:
    """Where `name` lies in tests/golden, be it compressed; it need not exist."""
    path = COMMITTED_FOLDER / name
    packed = path.with_name(f"{name}.gz")
    return packed if packed.exists() else path


def published_list(name: str) -> dict[str, Any]:
    """Entries of the published state dict, of `official_state_dict_<name>.json`."""
    file = f"official_state_dict_{name}.json"
    external, absent = find(file, "external")
    return external.json() if not absent else GoldenFile(committed_path(file)).json()


def find_part(arrays: Mapping[str, Array], name: str) -> tuple[Index, Array]:
    """What a file holds of the array `name`.

    Args:
        arrays: of the file.
        name: without an index.

    Returns:
        the index that takes the stored part from the whole array, and that part.

    Raises:
        KeyError: the file holds nothing of it.
    """
    if name in arrays:
        return (...,), arrays[name]
    for stored, value in arrays.items():
        if base_name(stored) == name:
            return _index(stored), value
    raise KeyError(f"{name} is not among {', '.join(arrays)}")


def base_name(stored: str) -> str:
    """The name of the array of which `stored` may be a part."""
    return stored.partition("[")[0]


def golden(name: str, argument: str = "golden_file") -> pytest.MarkDecorator:
    """Runs the decorated test for the committed and for the external file `name`."""
    cases = []
    for source in SOURCES:
        file, reason = find(name, source)
        marks = [pytest.mark.skip(reason=reason)] if reason else []
        cases.append(pytest.param(file, marks=marks, id=source))
    return pytest.mark.parametrize(argument, cases)


def plain_id(value: object) -> str:
    """A test id without the word that marks golden tests of the memory."""
    return str(value).replace("memory", "mem")


def demos_dir() -> Path:
    """The folder with `<split>/<task>/all_variations/episodes`; skips the test if absent."""
    folder = Path(
        os.environ.get("SAM2ACT_DEMOS_DIR") or REPOSITORY.parent / "shared" / "rlbench_demos"
    )
    if not folder.is_dir():
        pytest.skip(f"no recorded demos: {folder} is absent (set SAM2ACT_DEMOS_DIR)")
    return folder


def scenes_dir() -> Path:
    """The folder with facts of published scenes, one JSON file per task; skips if absent."""
    folder = Path(os.environ.get("SAM2ACT_SCENES_DIR") or REPOSITORY.parent / "shared" / "scenes")
    if not folder.is_dir():
        pytest.skip(f"no facts of scenes: {folder} is absent (set SAM2ACT_SCENES_DIR)")
    return folder


def golden_value(key: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray | None:
    """The float32 value that golden files assume for state-dict entry `key`.

    Args:
        key: published name; `mvt1.sam2.*` and `mvt2.sam2.*` share the value of `sam2.*`.
        shape: shape of the entry.
        salt: salt of the folder of the golden file.

    Returns:
        the array, or None where the constructed value stays.
    """
    name = re.sub(r"^mvt[12]\.(sam2\.)", r"\1", key)
    if name.endswith(("num_batches_tracked", "feat_fc_pe.div_term")):
        return None
    seed = zlib.crc32((name + salt).encode())
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if len(shape) >= 2:
        return noise * np.float32(_matrix_scale(name, shape))
    kind = name.rpartition(".")[2]
    if kind == "running_var":
        return np.float32(1) + np.float32(0.1) * np.abs(noise)
    offset, spread = {
        "running_mean": (0.0, 0.1),
        "weight": (1.0, 0.1),
        "gamma": (0.5, 0.1),
    }.get(kind, (0.0, 0.05))
    scaled = np.float32(spread) * noise
    return np.float32(offset) + scaled if offset else scaled


def _matrix_scale(name: str, shape: tuple[int, ...]) -> float:
    """Standard deviation of an entry of two or more axes."""
    if not name.endswith(".weight"):  # position and temporal tables
        return 1.0 if name.endswith(("pos_encoding", "gaussian_matrix")) else 0.5
    sharp = name.endswith(("q_proj.weight", "k_proj.weight"))
    if ".cross_attn_image." in name and sharp:
        gain = 2.5
    elif ".linear_b_" in name:
        gain = 0.5
    elif ".up0." in name:
        gain = 2.0**0.5
        if name.endswith("net_mask.2.weight"):
            gain = 10.0
        if name.endswith("up0.7.net_out.4.weight"):
            gain = 4.0
    else:
        gain = 1.0
    return gain / np.sqrt(np.prod(shape[1:]))


def _index(stored: str) -> Index:
    """`x[..., ::3]` -> (Ellipsis, slice(None, None, 3))."""
    parts = [part.strip() for part in stored.partition("[")[2].rstrip("]").split(",")]
    return tuple(
        ... if part == "..." else slice(*(int(n) if n else None for n in part.split(":")))
        for part in parts
    )


def _plain_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


@functools.cache
def _holds(external: Path, committed: Path) -> bool:
    """Whether every array of `committed` is equal to that of `external`, or to the named part."""
    if _plain_bytes(committed) == external.read_bytes():
        return True
    if committed.suffix != ".npz":
        return False
    ours, theirs = GoldenFile(committed).arrays(), GoldenFile(external).arrays()
    for stored, part in ours.items():
        whole = theirs.get(stored)
        if whole is None and (whole := theirs.get(base_name(stored))) is not None:
            whole = whole[_index(stored)]
        if whole is None or not np.array_equal(part, whole):
            return False
    return True
