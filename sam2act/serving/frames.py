"""Frames of robots from messages: strictly in our own form, leniently in those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from sam2act.core.specs import TIME, PolicySpec
from sam2act.core.types import ContractError, Frame

# Part of a frame -> axes of what one camera gives; -1 = any length.
SHAPES = {
    "rgb": (-1, -1, 3),
    "depth": (-1, -1),
    "intrinsics": (3, 3),
    "extrinsics": (4, 4),
    "mask": (-1, -1),
}
TYPES = {"rgb": "u", "depth": "f", "intrinsics": "f", "extrinsics": "f", "mask": "iu"}
INSTRUCTIONS = ("prompt", "task_description", "instruction")


def read_frame(told: Any) -> Frame:
    """The frame of a map: part of `SHAPES` -> camera -> array, and `state` -> name -> numbers.

    Raises:
        ContractError: something has another name, type or shape.
    """
    parts = _map("observation", told)
    unknown = [str(name) for name in parts if name not in (*SHAPES, "state")]
    if unknown:
        known = ", ".join((*SHAPES, "state"))
        raise ContractError(f"observation: {unknown[0]:.50} is unknown; known are {known}")
    images = {
        part: {
            camera: _image(part, camera, values)
            for camera, values in _map(part, parts.get(part, {})).items()
        }
        for part in SHAPES
    }
    state = _map("state", parts.get("state", {}))
    return Frame(state={name: _numbers(name, values) for name, values in state.items()}, **images)


def loose_frame(told: Any, spec: PolicySpec, aliases: Mapping[str, str]) -> tuple[Frame, str]:
    """The frame and the instruction of a map whose names vary, as openpi's and vla-eval's do.

    Maps in it are joined with `/`, and a leading `observation/` does not count. An image of camera
    `front` is called `rgb/front`, `images/front`, `front_image`, `front_rgb` or `front`, its depth
    `depth/front` or `front_depth`, its matrices likewise; the image of the only camera also
    `image`. The state is one vector `state` of all parts that the policy wants, in its order, or
    numbers called `state/<part>`. What a policy does not want is left aside.

    Args:
        told: the map.
        spec: what the policy wants.
        aliases: other names -> names as above, for example those of a data set.

    Raises:
        ContractError: something has another type or shape.
    """
    flat = {aliases.get(name, name): value for name, value in _flattened(_map("message", told))}
    images: dict[str, dict[str, np.ndarray]] = {part: {} for part in SHAPES}
    alone = len(spec.camera_specs) == 1
    for camera in spec.camera_specs:
        for part, found in images.items():
            value = _named(flat, part, camera.name, alone)
            if value is not None:
                value = _as_picture(value) if part == "rgb" else value
                found[camera.name] = _image(part, camera.name, value)
    texts = [flat[name] for name in INSTRUCTIONS if name in flat]
    instruction = texts[0] if texts else ""
    if not isinstance(instruction, str):
        raise ContractError(f"instruction: expected a text, got {type(instruction).__name__}")
    return Frame(state=_state(flat, spec), **images), instruction


def _flattened(told: Mapping[Any, Any], lead: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in told.items():
        name = f"{lead}{key}".replace(".", "/").removeprefix("observation/")
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{name}/")
        else:
            yield name, value


def _named(flat: Mapping[str, Any], part: str, camera: str, alone: bool) -> Any:
    names = [f"{part}/{camera}", f"{camera}_{part}"]
    if part == "rgb":
        names += [f"images/{camera}", f"{camera}_image", camera, *(["image"] if alone else [])]
    return next((flat[name] for name in names if name in flat), None)


def _as_picture(value: Any) -> Any:
    """Channels last and from 0 to 255, as openpi's own transforms of images do."""
    if not isinstance(value, np.ndarray) or value.ndim != 3:
        return value
    if value.dtype.kind == "f":
        if not np.isfinite(value).all() or value.min(initial=0) < 0 or value.max(initial=0) > 1:
            raise ContractError("rgb: expected uint8, or numbers from 0 to 1")
        value = (255 * value).astype(np.uint8)
    return np.moveaxis(value, 0, -1) if value.shape[0] == 3 != value.shape[2] else value


def _state(flat: Mapping[str, Any], spec: PolicySpec) -> dict[str, np.ndarray]:
    parts = [part for part in spec.state if part != TIME]
    found = {
        part.name: _numbers(part.name, flat[f"state/{part.name}"])
        for part in parts
        if f"state/{part.name}" in flat
    }
    if found or "state" not in flat or not parts:
        return found
    numbers, size = _numbers("state", flat["state"]), sum(part.size for part in parts)
    if len(numbers) != size:
        told = ", ".join(f"{part.name} ({part.size})" for part in parts)
        raise ContractError(f"state: expected {size} numbers: {told}; got {len(numbers)}")
    ends = np.cumsum([part.size for part in parts])
    pieces = np.split(numbers, ends[:-1])
    return {part.name: piece for part, piece in zip(parts, pieces, strict=True)}


# -------------------------------------------------------------------------------- single values
def _map(name: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise ContractError(f"{name}: expected a map, got {type(value).__name__}")
    return value


def _image(part: str, camera: object, values: Any) -> np.ndarray:
    """What one camera gives of a part; matrices become float64."""
    shape = SHAPES[part]
    fits = isinstance(values, np.ndarray) and len(values.shape) == len(shape)
    if not fits or any(
        want not in (-1, side) for want, side in zip(shape, values.shape, strict=True)
    ):
        told = values.shape if isinstance(values, np.ndarray) else type(values).__name__
        wanted = str(shape).replace("-1", "any")
        raise ContractError(f"{part}: of {camera!s:.50}: expected an array {wanted}, got {told}")
    image: np.ndarray = values
    if image.dtype.kind not in TYPES[part] or (part == "rgb" and image.dtype != np.uint8):
        raise ContractError(f"{part}: of {camera!s:.50}: {image.dtype} is not its type")
    convert: dict[str, Callable[[], np.ndarray]] = {
        "depth": lambda: image.astype(np.float32) if image.itemsize < 4 else image,
        "intrinsics": lambda: image.astype(np.float64),
        "extrinsics": lambda: image.astype(np.float64),
    }
    return convert.get(part, lambda: image)()


def _numbers(name: object, values: Any) -> np.ndarray:
    if isinstance(values, (bool, int, float)):
        values = [values]
    try:
        numbers = np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise ContractError(f"state: {name!s:.50}: expected numbers") from error
    if not np.isfinite(numbers).all():
        raise ContractError(f"state: {name!s:.50}: expected finite numbers")
    return numbers
