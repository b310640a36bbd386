"""Checks of observations and batches that users hand in, and random valid observations.

Called where data enters from outside, never in training loops. What values must mean stands in
`core/rules.py`; a check of values waits for the device once. Legend: B batch, K camera, S side of
a camera image, L language tokens, D token width.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sam2act.core.rules import (
    Rule,
    camera_rules,
    check,
    depth_range_rules,
    depth_rules,
    live_camera_rules,
    robot_rules,
    unit_pose_rules,
    workspace_rules,
    zero_or_one,
)
from sam2act.core.specs import GRIPPER_OPEN, ROBOT_STATE, TIME, CameraSpec, PolicySpec
from sam2act.core.types import (
    ContractError,
    Instruction,
    KeyframeBatch,
    Observation,
    time_feature,
)
from sam2act.geometry.cameras import unproject
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.forms import Form, check_forms

FLOATS = (torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int32, torch.int64)
LABELS = (torch.int64,)
ANY_SIDE = 128  # pixels of random images whose size does not matter
DEFAULT_BOUNDS = SceneBounds.from_sequence((-1, -1, -1, 1, 1, 1))  # of random observations


class _View(NamedTuple):
    """Cameras of one image size, and what they see."""

    images: Observation
    cameras: tuple[CameraSpec, ...]

    @property
    def measures_depth(self) -> bool:
        """Whether the policy wants depth of any of them."""
        return any(camera.depth for camera in self.cameras)


# ------------------------------------------------------------------------------- observations
def validate_observation(
    observation: Observation, spec: PolicySpec, language: Instruction | None = None
) -> None:
    """Check what an environment gives, and its instructions where they are given.

    Raises:
        ContractError: names the field, what was expected, what came and, where it helps, a remedy.
    """
    views = _views(observation, spec)
    lead = _leading_axes(observation.rgb, spec)
    for view in views:
        check_forms(view.images, _view_forms(view, lead, spec), spec)
    check_forms(observation, _state_forms(lead, spec), spec)
    if language is not None and spec.language is not None:
        _check_language_form(language, spec, lead[0])
    first, *others = [_frame_by_frame(view) for view in views]
    place = _places(lead)
    for view in others:
        if view.measures_depth:
            check(_view_rules(view), cameras=[view.cameras[0].name], place=place)
    check(
        [
            *_view_rules(first),
            *_state_rules(observation.proprioception.flatten(0, -2), spec),
            *_language_rules(language),
            *_workspace_rules([first, *others], spec),
        ],
        cameras=[camera.name for camera in first.cameras],
        place=place,
    )


def _views(observation: Observation, spec: PolicySpec) -> list[_View]:
    """The cameras of the observation itself, then those of other sizes."""
    main = tuple(camera for camera in spec.camera_specs if camera.name not in observation.others)
    names = tuple(camera.name for camera in main)
    if observation.cameras is not None and tuple(observation.cameras) != names:
        raise ContractError(
            f"cameras: expected {', '.join(names) or 'none'} in this order, got "
            f"{', '.join(observation.cameras) or 'none'}; reorder the images and the matrices alike"
        )
    others = [camera for camera in spec.camera_specs if camera.name in observation.others]
    return [
        _View(observation, main),
        *(_View(observation.others[camera.name], (camera,)) for camera in others),
    ]


def _frame_by_frame(view: _View) -> _View:
    """The same view with the axis of time, if it has one, joined to that of the batch."""
    images = view.images
    if images.rgb.dim() == len("BKHWC"):
        return view
    names = ("rgb", "depth", "intrinsics", "extrinsics")
    values = {name: getattr(images, name) for name in names}
    joined: dict[str, Any] = {
        name: value.flatten(0, 1) for name, value in values.items() if isinstance(value, Tensor)
    }
    return _View(dataclasses.replace(images, **joined), view.cameras)


def _places(lead: tuple[int, ...]) -> Callable[[int], str]:
    """How messages call an entry of the joined axes of batch and time."""
    if len(lead) == 1:
        return "environment {}".format
    return lambda entry: f"environment {entry // lead[1]}, frame {entry % lead[1]}"


def validate_batch(batch: KeyframeBatch, spec: PolicySpec) -> None:
    """Check training samples, for example those of a data set of one's own.

    Raises:
        ContractError: names the field, what was expected and what came.
    """
    (size,) = _leading_axes(batch.rgb, dataclasses.replace(spec, offsets=(0,)))
    check_forms(batch, _batch_forms(size, spec), spec)
    if len(batch.identities) != size:
        raise ContractError(f"identities: expected {size} of them, got {len(batch.identities)}")
    check(
        [
            *depth_range_rules(batch.depth_range),
            *unit_pose_rules("target_pose", batch.target_pose),
            zero_or_one("gripper_open", batch.gripper_open),
            zero_or_one("ignore_collisions", batch.ignore_collisions),
            Rule("instruction", batch.instruction >= 0, batch.instruction, "a row number"),
            *camera_rules(batch.intrinsics, batch.extrinsics, spec.image_size),
            *robot_rules(batch.proprioception),
        ],
        cameras=spec.cameras,
        place="sample {}".format,
    )


def validate_language(language: Instruction, spec: PolicySpec, batch: int) -> None:
    """Check one instruction per environment: texts or token features.

    Raises:
        ContractError: names what was expected and what came.
    """
    _check_language_form(language, spec, batch)
    if isinstance(language, Tensor):
        check(_language_rules(language))


# -------------------------------------------------------------------------------------- forms
def _leading_axes(rgb: object, spec: PolicySpec) -> tuple[int, ...]:
    """(B,), or (B, T) where the policy wants T > 1 frames."""
    frames = (len(spec.seen),) if len(spec.seen) > 1 else ()
    axes = len(frames) + len("BKSSC")
    if not isinstance(rgb, Tensor) or rgb.dim() != axes or len(rgb) == 0:
        found = tuple(rgb.shape) if isinstance(rgb, Tensor) else type(rgb).__name__
        legend = "(B, T, K, S, S, 3)" if frames else "(B, K, S, S, 3)"
        raise ContractError(f"rgb: expected a tensor {legend} with B >= 1, got {found}")
    return (len(rgb), *frames)


def _view_forms(view: _View, lead: tuple[int, ...], spec: PolicySpec) -> dict[str, Form]:
    """Of the images of one size, which the first camera decides; 0 pixels mean any."""
    cameras, rgb, axes = len(view.cameras), view.images.rgb, "B, T, " if len(lead) > 1 else "B, "
    size = tuple(rgb.shape[-3:-1])
    if view.cameras and view.cameras[0].height:
        size = (view.cameras[0].height, view.cameras[0].width)
    images = (*lead, cameras, *size)
    forms = {"rgb": Form(f"({axes}K, S, S, 3)", (*images, 3), (torch.uint8,))}
    if any(camera.mask for camera in view.cameras):
        forms["mask"] = Form(f"({axes}K, S, S)", images, INTEGERS)
    if not view.measures_depth:
        return forms
    return forms | {
        "intrinsics": Form(f"({axes}K, 3, 3)", (*lead, cameras, 3, 3), FLOATS),
        "extrinsics": Form(f"({axes}K, 4, 4)", (*lead, cameras, 4, 4), FLOATS),
        "depth": Form(f"({axes}K, S, S)", images, FLOATS),
    }


def _state_forms(lead: tuple[int, ...], spec: PolicySpec) -> dict[str, Form]:
    legend = "(B, T, P)" if len(lead) > 1 else "(B, P)"
    return {"proprioception": Form(legend, (*lead, spec.state_size), (torch.float32,))}


def _batch_forms(batch: int, spec: PolicySpec) -> dict[str, Form]:
    cameras, side = len(spec.cameras), spec.image_size
    return _state_forms((batch,), spec) | {
        "rgb": Form("(B, K, S, S, 3)", (batch, cameras, side, side, 3), (torch.uint8,)),
        "intrinsics": Form("(B, K, 3, 3)", (batch, cameras, 3, 3), FLOATS),
        "extrinsics": Form("(B, K, 4, 4)", (batch, cameras, 4, 4), FLOATS),
        "depth_code": Form("(B, K, S, S, 3)", (batch, cameras, side, side, 3), (torch.uint8,)),
        "depth_range": Form("(B, K, 2)", (batch, cameras, 2), FLOATS),
        "instruction": Form("(B,)", (batch,), LABELS),
        "target_pose": Form("(B, 7)", (batch, 7), (torch.float32,)),
        "gripper_open": Form("(B,)", (batch,), LABELS),
        "ignore_collisions": Form("(B,)", (batch,), LABELS),
    }


def _check_language_form(language: Instruction, spec: PolicySpec, batch: int) -> None:
    if isinstance(language, Tensor):
        shape = (batch, *spec.language_shape)
        if tuple(language.shape) != shape or not language.is_floating_point():
            raise ContractError(
                f"language: expected float token features (B, L, D) = {shape}, got "
                f"{tuple(language.shape)} {language.dtype}"
            )
        return
    listed = isinstance(language, Iterable) and not isinstance(language, (str, bytes))
    if not listed or not all(isinstance(text, str) for text in language):
        found = [type(text) for text in language] if listed else language
        raise ContractError(
            f"language: expected a list of texts, one per environment, or a tensor, got {found!r}"
        )
    if len(language) != batch or not all(text.strip() for text in language):
        raise ContractError(
            f"language: expected {batch} texts, one per environment and none empty, got "
            f"{list(language)!r}"
        )


# ------------------------------------------------------------------------------------- values
def _language_rules(language: Instruction | None) -> list[Rule]:
    if not isinstance(language, Tensor):
        return []
    return [Rule("language", language.isfinite(), language, "finite token features")]


def _view_rules(view: _View) -> list[Rule]:
    """Depth and calibration of cameras of one size, where the policy wants depth."""
    if not view.measures_depth:
        return []
    depth, intrinsics, extrinsics = view.images.geometry
    height, width = depth.shape[-2:]
    if height != width:  # as if the pictures were square
        stretch = intrinsics.new_tensor([1.0, width / height, 1.0])
        intrinsics = intrinsics * stretch[:, None]
    return [
        *depth_rules(depth),
        *live_camera_rules(depth),
        *camera_rules(intrinsics, extrinsics, width),
    ]


def _state_rules(state: Tensor, spec: PolicySpec) -> list[Rule]:
    """(B, P): what the robot reports."""
    if spec.state == ROBOT_STATE:
        return robot_rules(state)
    return [Rule("proprioception", state.isfinite(), state, "finite numbers")]


def _workspace_rules(views: Sequence[_View], spec: PolicySpec) -> list[Rule]:
    """Whether a camera shows a point that the policy would use."""
    seen = [_sees_workspace(view.images, spec) for view in views if view.measures_depth]
    return workspace_rules(torch.stack(seen).any(0)) if seen else []


def _sees_workspace(images: Observation, spec: PolicySpec) -> Tensor:
    """(B,) bool."""
    points = unproject(*images.geometry).flatten(1, -2)
    if spec.crop and spec.bounds is not None:
        return spec.bounds.contains(points).any(-1)
    return points.isfinite().all(-1).any(-1)


# ------------------------------------------------------------------------- random observations
def random_observation(spec: PolicySpec, batch: int, generator: torch.Generator) -> Observation:
    """A valid observation of noise: cameras around the workspace look at its centre.

    Args:
        spec: the policy's needs.
        batch: B environments.
        generator: source of all numbers; its device is that of the observation.
    """
    groups: dict[tuple[int, int], list[CameraSpec]] = {}
    for camera in spec.camera_specs:
        size = (camera.height or ANY_SIDE, camera.width or ANY_SIDE)
        groups.setdefault(size, []).append(camera)
    (size, main), *rest = groups.items() or [((0, 0), [])]
    lead = (batch, len(spec.seen)) if len(spec.seen) > 1 else (batch,)
    seen = _random_view(main, size, lead, spec, generator)
    others = {
        camera.name: _random_view([camera], size, lead, spec, generator)
        for size, cameras in rest
        for camera in cameras
    }
    state = _random_proprioception(spec, lead, generator)
    return dataclasses.replace(seen, proprioception=state, others=others)


def _random_view(
    cameras: Sequence[CameraSpec],
    size: tuple[int, int],
    lead: tuple[int, ...],
    spec: PolicySpec,
    generator: torch.Generator,
) -> Observation:
    """What cameras of one size see, without the state."""
    shape, (height, width), device = (*lead, len(cameras)), size, generator.device
    names = tuple(camera.name for camera in cameras)
    like = torch.zeros((), dtype=torch.float64, device=device)
    bounds = spec.bounds or DEFAULT_BOUNDS
    extent = bounds.extent(like)
    distance = 1.2 * float(extent.max())  # metres from the centre
    spread = 0.8 * float(extent.min())  # most points fall into the workspace
    images = (*shape, height, width)
    with_depth = any(camera.depth for camera in cameras)
    if with_depth:
        depth = distance + spread * (_uniform(images, generator) - 0.5).float()
        focal = [[1.2 * width, 0, width / 2], [0, 1.2 * width, height / 2], [0, 0, 1]]
        intrinsics = torch.tensor(focal, dtype=torch.float64, device=device)
        directions = _random_directions(shape, generator)
    rgb = torch.randint(256, (*images, 3), dtype=torch.uint8, generator=generator, device=device)
    mask = torch.zeros(images, dtype=torch.int64) if any(c.mask for c in cameras) else None
    if not with_depth:
        return Observation(rgb=rgb, cameras=names, mask=mask)
    return Observation(
        rgb=rgb,
        mask=mask,
        depth=depth,
        intrinsics=intrinsics.expand(*shape, 3, 3).clone(),
        extrinsics=_looking_at(bounds.center(like), distance * directions),
        cameras=names,
    )


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """float64 in [0, 1)."""
    return torch.rand(shape, dtype=torch.float64, generator=generator, device=generator.device)


def _random_directions(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """(..., 3) float64 unit vectors, 20 to 70 degrees above the horizon."""
    azimuth = 2 * math.pi * _uniform(shape, generator)
    elevation = torch.deg2rad(20 + 50 * _uniform(shape, generator))
    ground = elevation.cos()
    return torch.stack([ground * azimuth.cos(), ground * azimuth.sin(), elevation.sin()], dim=-1)


def _looking_at(center: Tensor, offset: Tensor) -> Tensor:
    """(..., 4, 4) T_world_from_camera at `center + offset` (..., 3): x right, y down, z ahead."""
    ahead = -offset / torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
    up = torch.zeros_like(ahead)
    up[..., 2] = 1
    right = torch.linalg.cross(ahead, up)
    right = right / torch.linalg.vector_norm(right, dim=-1, keepdim=True)
    pose = torch.zeros(*offset.shape[:-1], 4, 4, dtype=offset.dtype, device=offset.device)
    pose[..., :3, :3] = torch.stack([right, torch.linalg.cross(ahead, right), ahead], dim=-1)
    pose[..., :3, 3] = center + offset
    pose[..., 3, 3] = 1
    return pose


def _random_proprioception(
    spec: PolicySpec, lead: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """(..., P) float32: parts anywhere in their range, at any step of a trained episode."""
    device = generator.device
    parts = [torch.zeros(*lead, 0, device=device)]
    for part in spec.state:
        if part == TIME:
            steps = torch.randint(
                spec.episode_length, (*lead, 1), generator=generator, device=device
            )
            length = range(spec.episode_length)
            table = [time_feature(step, spec.episode_length) for step in length]
            parts.append(torch.tensor(table, dtype=torch.float32, device=device)[steps])
        elif part == GRIPPER_OPEN:
            opened = torch.randint(2, (*lead, 1), generator=generator, device=device)
            parts.append(opened.float())
        else:
            low, high = part.low or 0.0, 1.0 if part.high is None else part.high
            parts.append(low + (high - low) * _uniform((*lead, part.size), generator).float())
    return torch.cat(parts, dim=-1)
