"""Transforms that change the size of camera images; matrices and depth follow.

Legend: B samples, T frames (may be absent), K cameras, H W image size. A pixel is named by its
index, as intrinsics count it.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from sam2act.core.described import whole_number
from sam2act.core.errors import require
from sam2act.core.specs import PolicySpec, SpecError
from sam2act.core.types import Batch, ContractError, KeyframeBatch, Observation, WindowBatch
from sam2act.processing.transforms import Transform

Images = TypeVar("Images", Observation, KeyframeBatch)
# Field -> axis of its image rows; the columns follow.
ROWS = {"rgb": -3, "depth": -2, "mask": -2, "depth_code": -3}
# Field of an observation -> axis of its cameras.
CAMERA_AXIS = {"rgb": -4, "depth": -3, "mask": -3, "intrinsics": -3, "extrinsics": -3}


class ImageTransform(Transform):
    """Gives all cameras images of one size."""

    name = "images"

    def __init__(self, spec: PolicySpec, height: int, width: int | None = None) -> None:
        """Give images of `height` times `width` pixels (None: square).

        Raises:
            ConfigError: no whole positive numbers.
        """
        owner = f"transforms: {self.name}"
        self.height = whole_number(owner, "height", height)
        self.width = self.height if width is None else whole_number(owner, "width", width)
        self.cameras = spec.cameras

    def wanted(self, spec: PolicySpec) -> PolicySpec:
        """The same cameras with images of any size."""
        for camera in spec.camera_specs:
            if (camera.height, camera.width) not in ((0, 0), (self.height, self.width)):
                raise SpecError(
                    f"transforms: {self.name} gives {self.width} x {self.height} pixels of "
                    f"{camera.name}, but {camera.width} x {camera.height} are wanted behind it"
                )
        cameras = tuple(dataclasses.replace(c, height=0, width=0) for c in spec.camera_specs)
        return dataclasses.replace(spec, camera_specs=cameras)


class Resize(ImageTransform):
    """Scales images: colours by averaging over the area of a pixel, the rest by the nearest."""

    name = "resize"

    def observation(self, observation: Observation) -> Observation:
        """With all images scaled; cameras of other sizes join the rest."""
        changed = _map_images(observation, self._scaled, self._matrices)
        others = {name: self.observation(one) for name, one in observation.others.items()}
        if not others:
            return changed
        return _joined(dataclasses.replace(changed, others=others), self.cameras)

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """With all images scaled."""
        return on_images(batch, self.observation, self._keyframes)

    def _keyframes(self, batch: KeyframeBatch) -> KeyframeBatch:
        return _map_images(batch, self._scaled, self._matrices)

    def _scaled(self, name: str, values: Tensor) -> Tensor:
        axis = ROWS[name]
        size = tuple(values.shape[axis:][:2])
        if size == (self.height, self.width):
            return values
        if name == "rgb":
            return resized(values, self.height, self.width)
        rows = torch.arange(self.height, device=values.device) * size[0] // self.height
        columns = torch.arange(self.width, device=values.device) * size[1] // self.width
        return values.index_select(values.dim() + axis, rows).index_select(
            values.dim() + axis + 1, columns
        )

    def _matrices(self, matrices: Tensor, height: int, width: int) -> Tensor:
        """Intrinsics of the scaled images; the world points of kept pixels stay where they are."""
        factors = matrices.new_tensor([self.width / width, self.height / height, 1.0])
        return matrices * factors[:, None]


class Crop(ImageTransform):
    """Cuts a part out of images: anywhere in training, the middle while acting."""

    name = "crop"

    def observation(self, observation: Observation) -> Observation:
        """The middle of all images."""
        return self._cut(observation, None)

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """A part of the images that depends on the seed of a sample, the same in all of its
        cameras and frames."""
        return on_images(
            batch, lambda images: self._cut(images, seeds), lambda images: self._cut(images, seeds)
        )

    def _cut(self, data: Images, seeds: Tensor | None) -> Images:
        if isinstance(data, Observation) and data.others:
            raise ContractError("crop: cameras of several sizes; put resize before it")
        height, width = data.rgb.shape[-3:-1]
        if height < self.height or width < self.width:
            raise ContractError(
                f"crop: images of {width} x {height} pixels are smaller than {self.width} x "
                f"{self.height}"
            )
        top, left = self._corner(len(data.rgb), height, width, seeds)

        def cut(name: str, values: Tensor) -> Tensor:
            rows = top.to(values.device)[:, None] + torch.arange(self.height, device=values.device)
            columns = left.to(values.device)[:, None] + torch.arange(
                self.width, device=values.device
            )
            axes = (ROWS[name], ROWS[name] + 1)
            samples = torch.arange(len(values), device=values.device)[:, None, None]
            moved = values.movedim(axes, (1, 2))
            return moved[samples, rows[:, :, None], columns[:, None, :]].movedim((1, 2), axes)

        def shifted(matrices: Tensor, _height: int, _width: int) -> Tensor:
            offset = torch.stack([left, top, torch.zeros_like(top)], -1).to(matrices)
            moved = matrices.clone()
            moved[..., 2] -= offset.view(len(offset), *(1,) * (matrices.dim() - 3), 3)
            return moved

        return _map_images(data, cut, shifted)

    def _corner(
        self, count: int, height: int, width: int, seeds: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(B,) first row and first column of what is cut out."""
        free = height - self.height + 1, width - self.width + 1
        if seeds is None:
            middle = torch.full((count,), (free[0] - 1) // 2, dtype=torch.int64)
            return middle, torch.full_like(middle, (free[1] - 1) // 2)
        return (seeds >> 31) % free[0], (seeds & (2**31 - 1)) % free[1]


class ResizedCrop(Transform):
    """Cuts a part of a given area out of images and scales it to their size: anywhere in training,
    the middle while acting; all cameras and frames of a sample alike.

    Corners of the part fall on corners of the image. Colours are interpolated, the rest is that of
    the nearest pixel. This is the crop of Octo's and OpenVLA's data loaders.
    """

    name = "resized_crop"

    def __init__(self, spec: PolicySpec, area: float = 0.9) -> None:
        """Keep `area` of the image, with its aspect.

        Raises:
            ConfigError: it is no number above 0, up to 1.
        """
        good = isinstance(area, (int, float)) and 0 < area <= 1
        require(good, f"transforms: {self.name}: area={area!r} must be above 0 and at most 1")
        self.side = float(area) ** 0.5  # of the part, as a fraction

    def observation(self, observation: Observation) -> Observation:
        """The middle of all images."""
        return self._cut(observation, None)

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """A part of the images that depends on the seed of a sample."""
        return on_images(
            batch, lambda images: self._cut(images, seeds), lambda images: self._cut(images, seeds)
        )

    def _cut(self, data: Images, seeds: Tensor | None) -> Images:
        if isinstance(data, Observation) and data.others:
            raise ContractError(f"{self.name}: cameras of several sizes; put resize before it")
        height, width = data.rgb.shape[-3:-1]
        draws = torch.full((len(data.rgb), 2), 0.5) if seeds is None else uniform(seeds, self.name)
        start = (1 - self.side) * draws * torch.tensor([height - 1, width - 1])  # (B, 2)

        def cut(name: str, values: Tensor) -> Tensor:
            for step, (first, size) in enumerate(
                zip(start.unbind(1), (height, width), strict=True)
            ):
                places = first[:, None] + self.side * torch.arange(size)
                values = _taken(values, ROWS[name] + step, places.to(values.device), name == "rgb")
            return values.round().to(torch.uint8) if name == "rgb" else values

        def moved(matrices: Tensor, _height: int, _width: int) -> Tensor:
            changed = matrices.clone()
            offset = start.flip(1).to(matrices).view(-1, *(1,) * (matrices.dim() - 3), 2)
            changed[..., :2, 2] -= offset
            changed[..., :2, :] /= self.side
            return changed

        return _map_images(data, cut, moved)


def _taken(values: Tensor, axis: int, places: Tensor, interpolated: bool) -> Tensor:
    """`values` (B, ...) at `places` (B, n) along an axis counted from behind, per sample.

    Interpolated ones are float32.
    """
    last = values.shape[axis] - 1
    samples = torch.arange(len(values), device=values.device)[:, None]
    moved = values.movedim(axis, 1)
    if not interpolated:
        return moved[samples, places.round().long().clamp(0, last)].movedim(1, axis)
    below = places.floor().long().clamp(0, last)
    above = (below + 1).clamp(max=last)
    share = (places - below).view(*places.shape, *(1,) * (values.dim() - 2))
    near, far = (moved[samples, index].float() for index in (below, above))
    return torch.lerp(near, far, share).movedim(1, axis)


def uniform(seeds: Tensor, purpose: str, count: int = 2) -> Tensor:
    """(B, count) float32 in [0, 1), from the seeds (B,) of samples; each purpose has its own."""
    salt = zlib.crc32(purpose.encode())
    generators = (torch.Generator().manual_seed(seed ^ salt) for seed in seeds.tolist())
    return torch.stack([torch.rand(count, generator=generator) for generator in generators])


def resized(rgb: Tensor, height: int, width: int) -> Tensor:
    """(..., height, width, 3) uint8 of `rgb` (..., H, W, 3) uint8, bilinear with antialiasing."""
    flat = rgb.reshape(-1, *rgb.shape[-3:]).permute(0, 3, 1, 2).float()
    scaled = torch.nn.functional.interpolate(flat, (height, width), mode="bilinear", antialias=True)
    values = scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return values.reshape(*rgb.shape[:-3], height, width, 3)


def on_images(
    batch: Batch,
    observation: Callable[[Observation], Observation],
    keyframes: Callable[[KeyframeBatch], KeyframeBatch],
) -> Batch:
    """`batch` with its images changed."""
    if isinstance(batch, WindowBatch):
        return dataclasses.replace(batch, observed=observation(batch.observed))
    assert isinstance(batch, KeyframeBatch), type(batch)
    return keyframes(batch)


def _map_images(
    data: Images,
    images: Callable[[str, Tensor], Tensor],
    matrices: Callable[[Tensor, int, int], Tensor],
) -> Images:
    """`data` with every field of images changed, and the intrinsics."""
    height, width = data.rgb.shape[-3:-1]
    changed: dict[str, Any] = {
        name: images(name, value)
        for name in ROWS
        if isinstance(value := getattr(data, name, None), Tensor)
    }
    if data.intrinsics is not None:
        changed["intrinsics"] = matrices(data.intrinsics, height, width)
    return dataclasses.replace(data, **changed)


def _joined(observation: Observation, cameras: tuple[str, ...]) -> Observation:
    """All cameras in one, in the order of `cameras`, where sizes are equal now."""
    if observation.cameras is None:
        raise ContractError("cameras: images of several sizes need the names of all cameras")
    parts = {name: (observation, place) for place, name in enumerate(observation.cameras)} | {
        name: (one, 0) for name, one in observation.others.items()
    }
    absent = [name for name in cameras if name not in parts]
    if absent:
        raise ContractError(f"cameras: {', '.join(absent)} is not among {', '.join(parts)}")
    joined: dict[str, Tensor] = {}
    for name, axis in CAMERA_AXIS.items():
        values = [getattr(parts[camera][0], name) for camera in cameras]
        if all(value is not None for value in values):
            places = [parts[camera][1] for camera in cameras]
            each = [value.select(axis, at) for value, at in zip(values, places, strict=True)]
            joined[name] = torch.stack(each, axis)
    return dataclasses.replace(observation, **joined, cameras=cameras, others={})
