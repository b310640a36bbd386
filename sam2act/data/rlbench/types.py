"""Reading and writing the pickles of RLBench demos without a simulator install.

`Demo` and `RecordedObservation` stand in for the two RLBench classes that recorded demos refer
to. Reading goes through an unpickler that knows these two classes, numpy arrays and plain
containers and refuses every other name; writing stores the original class names, so that RLBench
can read the files too. Images are no concern of this module.
"""

from __future__ import annotations

import collections
import io
import pickle
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.errors import UserError
from sam2act.core.frames import Frame

PICKLE_PROTOCOL = 4
# Part of the robot state -> field of an observation.
STATE_FIELDS = {
    "gripper_open": "gripper_open",
    "finger_joints": "gripper_joint_positions",
    "gripper_pose": "gripper_pose",
    "joint_positions": "joint_positions",
}


class DemoError(UserError):
    """A recorded demo cannot be used; the message names the file and the remedy."""


def numbers_in(value: object) -> np.ndarray | None:
    """What a file holds in one place as float64; None for texts, bytes, and what is no number."""
    try:
        values = np.asarray(value)
        return None if values.dtype.kind in "USc" or value is None else values.astype(np.float64)
    except (TypeError, ValueError):
        return None


def short(value: object) -> str:
    """What stands in a place, in a few words."""
    if isinstance(value, np.ndarray) and value.size > 1:
        return f"an array of shape {value.shape} ({value.dtype})"
    return reprlib.repr(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)


class RefusedPickleError(DemoError):
    """A pickle refers to a name that recorded data has no reason to hold."""


class RecordedObservation:
    """What RLBench records per frame; images are None in the pickles.

    Attributes used here: `joint_velocities` (7,), `gripper_open` (0.0 or 1.0), `gripper_pose` (7,)
    metres and xyzw in the world frame, `gripper_joint_positions` (2,), `ignore_collisions`
    (0.0 or 1.0) and `misc`, which holds `<camera>_camera_{extrinsics,intrinsics,near,far}`.
    """

    joint_velocities: np.ndarray
    gripper_open: float
    gripper_pose: np.ndarray
    gripper_joint_positions: np.ndarray
    ignore_collisions: np.ndarray
    misc: dict[str, Any]

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def frame(self) -> Frame:
        """The images that are there, with their calibration, and the state of the robot."""
        known = vars(self) | (vars(self).get("misc") or {})
        cameras = [name.removesuffix("_rgb") for name in known if name.endswith("_rgb")]
        seen = [camera for camera in cameras if known[f"{camera}_rgb"] is not None]

        def of_cameras(kind: str) -> dict[str, np.ndarray]:
            values = {camera: known.get(f"{camera}_{kind}") for camera in seen}
            return {camera: value for camera, value in values.items() if value is not None}

        return Frame(
            rgb=of_cameras("rgb"),
            depth=of_cameras("depth"),
            intrinsics=of_cameras("camera_intrinsics"),
            extrinsics=of_cameras("camera_extrinsics"),
            mask=of_cameras("mask"),
            state={
                name: np.atleast_1d(known[field])
                for name, field in STATE_FIELDS.items()
                if known.get(field) is not None
            },
        )


class Demo:
    """A recorded episode: a sequence of observations.

    `random_seed` is the state of numpy's Mersenne Twister before the episode's reset in recorded
    RLBench data, and an integer in demos of the built-in simulator.
    """

    def __init__(
        self,
        observations: list[RecordedObservation],
        random_seed: tuple[Any, ...] | int | None = None,
        variation_number: int = 0,
    ) -> None:
        self._observations = observations
        self.random_seed = random_seed
        self.variation_number = variation_number

    def __len__(self) -> int:
        return len(self._observations)

    def __getitem__(self, index: int) -> RecordedObservation:
        return self._observations[index]

    def __iter__(self) -> Iterator[RecordedObservation]:
        return iter(self._observations)


_PUBLISHED_NAMES: dict[type, tuple[str, str]] = {
    Demo: ("rlbench.demo", "Demo"),
    RecordedObservation: ("rlbench.backend.observation", "Observation"),
}


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """Bytes as pickle protocols below 3 store them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unexpected text encoding {encoding!r}")
    return text.encode("latin1")


def _permitted_names() -> dict[tuple[str, str], Any]:
    """Every global that recorded data may refer to."""
    array_parts = np.zeros(1).__reduce__()[0]
    scalar_parts = np.float64(0).__reduce__()[0]
    buffer_parts = np.zeros(1).__reduce_ex__(5)[0]
    permitted: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1_bytes,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("collections", "defaultdict"): collections.defaultdict,
    }
    for core in ("numpy.core", "numpy._core"):
        permitted[f"{core}.multiarray", "_reconstruct"] = array_parts
        permitted[f"{core}.multiarray", "scalar"] = scalar_parts
        permitted[f"{core}.numeric", "_frombuffer"] = buffer_parts
    for plain in (list, dict, set, frozenset, tuple, int, float, complex, bool, str):
        permitted["builtins", plain.__name__] = plain
        permitted["__builtin__", plain.__name__] = plain
    permitted.update({name: cls for cls, name in _PUBLISHED_NAMES.items()})
    return permitted


class _RestrictedUnpickler(pickle.Unpickler):
    """Resolves permitted names only; a dotted or unknown name never reaches an import."""

    def __init__(self, stream: io.BufferedIOBase, path: Path) -> None:
        super().__init__(stream)
        self._path = path
        self._permitted = _permitted_names()

    def find_class(self, module: str, name: str) -> Any:
        """The object behind a permitted name."""
        try:
            return self._permitted[module, name]
        except KeyError:
            raise RefusedPickleError(
                f"{self._path}: the pickle refers to {module}.{name}, which recorded data does not "
                "need; nothing was executed. If you trust the file, load it with plain pickle and "
                "save its arrays again"
            ) from None


def load_restricted(path: str | Path) -> Any:
    """The content of pickle file `path`: numpy arrays, plain containers, demos.

    Raises:
        RefusedPickleError: the file refers to any other class or function.
        DemoError: the file is absent, truncated or no pickle.
    """
    path = Path(path)
    try:
        stream = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise DemoError(
            f"{path}: cannot be read ({error.strerror}); copy the episode again"
        ) from error
    try:
        return _RestrictedUnpickler(stream, path).load()
    except RefusedPickleError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DemoError(
            f"{path}: not a readable pickle ({type(error).__name__}: {error}); "
            "copy or record the episode again"
        ) from error


class _PublishedNamePickler(pickle._Pickler):  # the pure-Python pickler lets names be replaced
    """Writes the stand-ins under the RLBench names and numpy under its oldest module path."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Stores a reference to a class or function."""
        base: Any = super()  # the methods of the pure-Python pickler have no types
        pickler: Any = self
        if isinstance(obj, type) and obj in _PUBLISHED_NAMES:
            names = _PUBLISHED_NAMES[obj]
        elif str(getattr(obj, "__module__", "")).startswith("numpy._core."):
            names = (obj.__module__.replace("numpy._core.", "numpy.core."), obj.__qualname__)
        else:
            base.save_global(obj, name)
            return
        pickler.save(names[0])
        pickler.save(names[1])
        pickler.write(pickle.STACK_GLOBAL)
        pickler.memoize(obj)


def dump_published(content: Any, path: str | Path) -> None:
    """Writes `content` (demos, arrays, containers) so that RLBench and `load_restricted` read it.

    The pickle has protocol 4, the class names of RLBench and module paths that exist in numpy 1
    and 2.
    """
    stream = io.BytesIO()
    _PublishedNamePickler(stream, protocol=PICKLE_PROTOCOL).dump(content)
    Path(path).write_bytes(stream.getvalue())
