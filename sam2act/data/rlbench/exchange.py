"""Demos in RLBench's layout as plain episodes, and back, to the last bit.

What an observation holds per frame becomes numbers by name: its own fields under their names
(`finger_joints` for `gripper_joint_positions`), calibration by camera, other entries of `misc` as
`misc.<key>`. What is no number is a fact of the episode.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.actions import DENSE_RATE
from sam2act.core.files import naming
from sam2act.data.exchange import (
    DEPTH_CODE,
    DEPTH_RANGE,
    EXTRINSICS,
    INTRINSICS,
    MASK,
    RGB,
    PlainEpisode,
    plain,
    restored,
)
from sam2act.data.rlbench.demo_folders import (
    DESCRIPTIONS_FILE,
    LOW_DIM_FILE,
    VARIATION_FILE,
    episode_folders,
    episodes_folder,
    why_absent,
)
from sam2act.data.rlbench.demo_images import image_path, read_picture
from sam2act.data.rlbench.demos import Episode, episode_keyframes, read_episode
from sam2act.data.rlbench.types import (
    STATE_FIELDS,
    Demo,
    DemoError,
    RecordedObservation,
    dump_published,
)

_KINDS = {RGB: "rgb", DEPTH_CODE: "depth", MASK: "mask"}
_IMAGE_FIELDS = ("_rgb", "_depth", "_mask", "_point_cloud")
_MATRICES = {INTRINSICS: "_camera_intrinsics", EXTRINSICS: "_camera_extrinsics"}
_PLANES = ("_camera_near", "_camera_far")
_NAMES = {field: name for name, field in STATE_FIELDS.items()}  # of an observation -> of a number
_MISC = "misc."
_TYPES: dict[str, type] = {"float": float, "int": int, "bool": bool}
_COMPRESSION = {"rgb": 3, "depth": 1, "mask": 1}


class DemoReader:
    """The demos of one task."""

    rate = DENSE_RATE

    def __init__(
        self, folder: Path, split: str, task: str, cameras: Sequence[str] | None = None
    ) -> None:
        """Look for them.

        Args:
            folder: the data folder.
            split: below it.
            task: below that.
            cameras: whose images are wanted; None = all that were recorded.

        Raises:
            DemoError: there are none.
        """
        if not episodes_folder(folder, split, task).is_dir():
            raise DemoError(why_absent(folder, split, task))
        self._folders = episode_folders(folder, split, task)
        self._cameras = cameras

    def episodes(self) -> Sequence[int]:
        """The numbers of the episode folders."""
        return list(self._folders)

    def read(self, number: int) -> PlainEpisode:
        """One demo.

        Raises:
            DemoError: a pickle or an image is absent or damaged.
        """
        episode = read_episode(self._folders[number])
        numbers, facts = _numbers(episode)
        facts |= {
            "number": number,
            "variation": episode.variation_number,
            "demo_variation": int(getattr(episode.demo, "variation_number", 0)),
            "random_seed": plain(episode.random_seed),
            "keyframes": _keyframes(episode),
        }
        images = self._images(episode)
        return PlainEpisode(
            length=len(episode.demo),
            instructions=episode.descriptions,
            numbers=numbers,
            images={name: size for name, (_, _, size) in images.items()},
            image=lambda name, frame: _picture(episode.folder, *images[name][:2], frame),
            facts=facts,
        )

    def _images(self, episode: Episode) -> dict[str, tuple[str, str, tuple[int, int]]]:
        """Name -> camera, kind and size of the images that an episode has of every frame."""
        found = {}
        there = {path.name for path in episode.folder.iterdir() if path.is_dir()}
        cameras = self._cameras or sorted(n.removesuffix(RGB) for n in there if n.endswith(RGB))
        for camera in cameras:
            for suffix, kind in _KINDS.items():
                if f"{camera}_{kind}" not in there and (suffix != RGB or self._cameras is None):
                    continue
                _require_all(episode, camera, kind)
                size = _picture(episode.folder, camera, kind, 0).shape[:2]
                found[camera + suffix] = (camera, kind, (int(size[0]), int(size[1])))
        return found


def _require_all(episode: Episode, camera: str, kind: str) -> None:
    for frame in range(len(episode.demo)):
        if not image_path(episode.folder, camera, kind, frame).is_file():
            raise DemoError(
                f"{episode.folder}: frame {frame} has no image {camera}_{kind}, but other formats "
                "hold one of every frame; record demos with all images (sam2act demos --images "
                "all), or name other cameras"
            )


def _picture(folder: Path, camera: str, kind: str, frame: int) -> np.ndarray:
    return read_picture(image_path(folder, camera, kind, frame), "depth" if kind != "rgb" else kind)


def _keyframes(episode: Episode) -> list[int]:
    """Those of the heuristic; none where gripper states need a threshold first."""
    try:
        return [int(frame) for frame in episode_keyframes(episode)]
    except DemoError:
        return []


def _numbers(episode: Episode) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The numbers of a demo, and the facts by which it can be made again."""
    fields = _by_name([vars(o) for o in episode.demo], episode)
    misc = _by_name([o.misc for o in episode.demo], episode) if "misc" in fields else {}
    fields = {n: v for n, v in fields.items() if not n.endswith(_IMAGE_FIELDS) and n != "misc"}
    numbers: dict[str, np.ndarray] = {}
    kinds: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    for prefix, values in (("", fields), (_MISC, misc)):
        for name, column in values.items():
            key = _NAMES.get(name, name) if not prefix else prefix + name
            array = _stacked(column)
            if array is None:
                same = all(_equal(value, column[0]) for value in column)
                texts[key] = plain(column[0]) if same else {"__frames__": plain(column)}
            else:
                numbers[key] = array
                kinds[key] = type(column[0]).__name__
    _name_cameras(numbers, kinds)
    return numbers, {"kinds": kinds, "texts": texts}


def _by_name(frames: Sequence[Mapping[str, Any]], episode: Episode) -> dict[str, list[Any]]:
    """Name -> its values in all frames.

    Raises:
        DemoError: a frame lacks a name that another has.
    """
    for index, frame in enumerate(frames):
        if set(frame) != set(frames[0]):
            odd = sorted(set(frame) ^ set(frames[0]))
            raise DemoError(
                f"{episode.folder / LOW_DIM_FILE}: frame {index} and frame 0 do not both have "
                f"{', '.join(odd)}; record the episode again"
            )
    return {name: [frame[name] for frame in frames] for name in frames[0]}


def _stacked(column: Sequence[Any]) -> np.ndarray | None:
    """(T, ...) of the numbers of all frames; None where they are none, or differ in form."""
    first = column[0]
    if not isinstance(first, (bool, int, float, np.ndarray, np.generic)):
        return None
    arrays = [np.asarray(value) for value in column]
    alike = {(type(value), a.shape, a.dtype) for value, a in zip(column, arrays, strict=True)}
    return np.stack(arrays) if len(alike) == 1 and arrays[0].dtype.kind in "fiub" else None


def _equal(one: Any, other: Any) -> bool:
    return bool(plain(one) == plain(other))


def _name_cameras(numbers: dict[str, np.ndarray], kinds: dict[str, Any]) -> None:
    """Bring the calibration among the entries of misc under the names of plain episodes."""
    mark = _MATRICES[INTRINSICS]
    for key in [key for key in numbers if key.startswith(_MISC) and key.endswith(mark)]:
        start = key.removesuffix(mark)
        camera = start.removeprefix(_MISC)
        for suffix, name in _MATRICES.items():
            if start + name in numbers:
                numbers[camera + suffix] = numbers.pop(start + name)
                kinds[camera + suffix] = kinds.pop(start + name)
        planes = [start + name for name in _PLANES]
        if all(name in numbers and numbers[name].ndim == 1 for name in planes):
            numbers[camera + DEPTH_RANGE] = np.stack([numbers.pop(n) for n in planes], axis=1)
            kinds[camera + DEPTH_RANGE] = [kinds.pop(n) for n in planes]


class DemoWriter:
    """Writes plain episodes as the demos of one task, each whole or not at all."""

    def __init__(self, folder: Path, split: str, task: str) -> None:
        self._folder = episodes_folder(folder, split, task)

    def written(self) -> int:
        """Episodes that are there."""
        return sum(1 for path in self._folder.glob("episode*") if ".part" not in path.name)

    def finish(self) -> None:
        """Nothing is left to do."""

    def add(self, episode: PlainEpisode) -> None:
        """Write the next one as `episode<N>`, with the number that it had before.

        Raises:
            DemoError: it lacks the state of a gripper, from which no demo can be made.
        """
        number = int(episode.facts.get("number", self.written()))
        target = self._folder / f"episode{number}"
        partial = target.with_name(f"{target.name}.part-{os.getpid()}")
        with naming(target):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                for name in episode.images:
                    _write_images(partial, episode, name)
                dump_published(demo_of(episode), partial / LOW_DIM_FILE)
                dump_published(list(episode.instructions), partial / DESCRIPTIONS_FILE)
                variation = int(episode.facts.get("variation") or 0)
                dump_published(variation, partial / VARIATION_FILE)
                os.replace(partial, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)


def _write_images(folder: Path, episode: PlainEpisode, name: str) -> None:
    from PIL import Image

    suffix = next(suffix for suffix in _KINDS if name.endswith(suffix))
    camera, kind = name.removesuffix(suffix), _KINDS[suffix]
    image_path(folder, camera, kind, 0).parent.mkdir()
    for frame in range(episode.length):
        path = image_path(folder, camera, kind, frame)
        pixels = episode.image(name, frame)
        Image.fromarray(pixels).save(path, compress_level=_COMPRESSION[kind])


def demo_of(episode: PlainEpisode) -> Demo:
    """The demo of a plain episode, whatever format it went through.

    Raises:
        DemoError: it lacks the state of a gripper.
    """
    needed = ("gripper_pose", "gripper_open", "joint_velocities")
    lacking = [name for name in needed if name not in episode.numbers]
    if lacking:
        raise DemoError(
            f"an episode has no {', '.join(lacking)}, without which it is no demo in RLBench's "
            f"layout (it has {', '.join(episode.numbers)}); choose another format"
        )
    cameras = episode.cameras
    nothing = {camera + suffix: None for camera in cameras for suffix in _IMAGE_FIELDS}
    frames = [
        RecordedObservation(**nothing, **_fields(episode, frame)) for frame in range(episode.length)
    ]
    seed = restored(episode.facts.get("random_seed"))
    variation = episode.facts.get("demo_variation", episode.facts.get("variation"))
    return Demo(frames, seed, int(variation or 0))


def _fields(episode: PlainEpisode, frame: int) -> dict[str, Any]:
    """What the observation of a frame holds."""
    kinds = episode.facts.get("kinds", {})
    fields: dict[str, Any] = {}
    misc: dict[str, Any] = {}
    for name, values in episode.numbers.items():
        value, kind = values[frame], kinds.get(name, "ndarray")
        suffix = next((s for s in (*_MATRICES, DEPTH_RANGE) if name.endswith(s)), "")
        if suffix == DEPTH_RANGE:
            kind = kind if isinstance(kind, list) else ["float", "float"]
            for plane, number, one in zip(_PLANES, value, kind, strict=True):
                misc[name.removesuffix(suffix) + plane] = _typed(number, one)
        elif suffix:
            misc[name.removesuffix(suffix) + _MATRICES[suffix]] = _typed(value, kind)
        elif name.startswith(_MISC):
            misc[name.removeprefix(_MISC)] = _typed(value, kind)
        else:
            fields[STATE_FIELDS.get(name, name)] = _typed(value, kind)
    for name, text in episode.facts.get("texts", {}).items():
        held = isinstance(text, dict) and "__frames__" in text
        value = restored(text["__frames__"])[frame] if held else restored(text)
        if name.startswith(_MISC):
            misc[name.removeprefix(_MISC)] = value
        else:
            fields[name] = value
    return {**fields, "misc": misc}


def _typed(value: Any, kind: str) -> Any:
    """A number in the type in which it was recorded; arrays stay."""
    if kind in _TYPES:
        return _TYPES[kind](np.asarray(value).reshape(()))
    return np.array(value) if kind == "ndarray" else value
