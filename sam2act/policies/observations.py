"""Checks of observations and batches that users hand in, and random valid observations.

Called where data enters from outside, never in training loops. What values must mean stands in
`core/rules.py`; a check of values waits for the device once. Legend: B batch, K camera, S side of
a camera image, L language tokens, D token width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

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
from sam2act.core.specs import PolicySpec
from sam2act.core.types import (
    FINGER_RANGE,
    ContractError,
    Instruction,
    KeyframeBatch,
    Observation,
    time_feature,
)
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.multiview.preprocessing import world_cloud

FLOATS = (torch.float32, torch.float64)
LABELS = (torch.int64,)
DEFAULT_BOUNDS = SceneBounds.from_sequence((-1, -1, -1, 1, 1, 1))  # of random observations


@dataclass(frozen=True)
class _Form:
    """Expected shape (its legend and its numbers) and dtypes of one field."""

    legend: str
    shape: tuple[int, ...]
    dtypes: tuple[torch.dtype, ...]


# ------------------------------------------------------------------------------- observations
def validate_observation(
    observation: Observation, spec: PolicySpec, language: Instruction | None = None
) -> None:
    """Check what an environment gives, and its instructions where they are given.

    Raises:
        ContractError: names the field, what was expected, what came and, where it helps, a remedy.
    """
    if observation.cameras is not None and tuple(observation.cameras) != spec.camera_names:
        raise ContractError(
            f"cameras: expected {', '.join(spec.camera_names)} in this order, got "
            f"{', '.join(observation.cameras) or 'none'}; reorder the images and the matrices alike"
        )
    batch = _batch_size(observation.rgb)
    _check_forms(observation, _image_forms(batch, spec) | _depth_forms(batch, spec), spec)
    if language is not None:
        _check_language_form(language, spec, batch)
    check(
        [
            *depth_rules(observation.geometry.depth),
            *live_camera_rules(observation.geometry.depth),
            *_shared_rules(observation, spec),
            *_language_rules(language),
            *workspace_rules(_sees_workspace(observation, spec)),
        ],
        cameras=spec.camera_names,
    )


def validate_batch(batch: KeyframeBatch, spec: PolicySpec) -> None:
    """Check training samples, for example those of a data set of one's own.

    Raises:
        ContractError: names the field, what was expected and what came.
    """
    size = _batch_size(batch.rgb)
    _check_forms(batch, _image_forms(size, spec) | _label_forms(size, spec), spec)
    if len(batch.identities) != size:
        raise ContractError(f"identities: expected {size} of them, got {len(batch.identities)}")
    check(
        [
            *depth_range_rules(batch.depth_range),
            *unit_pose_rules("target_pose", batch.target_pose),
            zero_or_one("gripper_open", batch.gripper_open),
            zero_or_one("ignore_collisions", batch.ignore_collisions),
            Rule("instruction", batch.instruction >= 0, batch.instruction, "a row number"),
            *_shared_rules(batch, spec),
        ],
        cameras=spec.camera_names,
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
def _batch_size(rgb: object) -> int:
    if not isinstance(rgb, Tensor) or rgb.dim() != 5 or len(rgb) == 0:
        found = tuple(rgb.shape) if isinstance(rgb, Tensor) else type(rgb).__name__
        raise ContractError(f"rgb: expected a tensor (B, K, S, S, 3) with B >= 1, got {found}")
    return len(rgb)


def _image_forms(batch: int, spec: PolicySpec) -> dict[str, _Form]:
    cameras, side = len(spec.camera_names), spec.image_size
    return {
        "rgb": _Form("(B, K, S, S, 3)", (batch, cameras, side, side, 3), (torch.uint8,)),
        "intrinsics": _Form("(B, K, 3, 3)", (batch, cameras, 3, 3), FLOATS),
        "extrinsics": _Form("(B, K, 4, 4)", (batch, cameras, 4, 4), FLOATS),
        "proprioception": _Form("(B, P)", (batch, spec.state_size), (torch.float32,)),
    }


def _depth_forms(batch: int, spec: PolicySpec) -> dict[str, _Form]:
    shape = (batch, len(spec.camera_names), spec.image_size, spec.image_size)
    return {"depth": _Form("(B, K, S, S)", shape, FLOATS)}


def _label_forms(batch: int, spec: PolicySpec) -> dict[str, _Form]:
    cameras, side = len(spec.camera_names), spec.image_size
    return {
        "depth_code": _Form("(B, K, S, S, 3)", (batch, cameras, side, side, 3), (torch.uint8,)),
        "depth_range": _Form("(B, K, 2)", (batch, cameras, 2), FLOATS),
        "instruction": _Form("(B,)", (batch,), LABELS),
        "target_pose": _Form("(B, 7)", (batch, 7), (torch.float32,)),
        "gripper_open": _Form("(B,)", (batch,), LABELS),
        "ignore_collisions": _Form("(B,)", (batch,), LABELS),
    }


def _check_forms(
    data: Observation | KeyframeBatch, forms: dict[str, _Form], spec: PolicySpec
) -> None:
    device = data.rgb.device
    for field, form in forms.items():
        value = getattr(data, field)
        if not isinstance(value, Tensor):
            raise ContractError(f"{field}: expected a tensor, got {type(value).__name__}")
        if tuple(value.shape) != form.shape:
            raise ContractError(
                f"{field}: expected shape {form.legend} = {form.shape}, got "
                f"{tuple(value.shape)}{_shape_hint(form, tuple(value.shape), spec)}"
            )
        if value.dtype not in form.dtypes:
            names = " or ".join(str(dtype) for dtype in form.dtypes)
            raise ContractError(f"{field}: expected {names}, got {value.dtype}")
        if value.device != device:
            raise ContractError(f"{field}: expected on {device} like rgb, got {value.device}")


def _shape_hint(form: _Form, shape: tuple[int, ...], spec: PolicySpec) -> str:
    """What a wrong shape most likely means."""
    if "K" not in form.legend or len(shape) != len(form.shape):
        return ""
    if shape[1] != form.shape[1]:
        return f"; the cameras are {', '.join(spec.camera_names)} in this order"
    if "S" in form.legend and shape[2:4] != form.shape[2:4]:
        return f"; image_size is {spec.image_size}: resize the images and scale the intrinsics"
    return ""


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


def _shared_rules(data: Observation | KeyframeBatch, spec: PolicySpec) -> list[Rule]:
    assert data.intrinsics is not None and data.extrinsics is not None
    cameras = camera_rules(data.intrinsics, data.extrinsics, spec.image_size)
    return [*cameras, *robot_rules(data.proprioception)]


def _sees_workspace(observation: Observation, spec: PolicySpec) -> Tensor:
    """(B,) bool: whether a camera shows a point that the policy would use."""
    points = world_cloud(observation).points
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
    cameras, side, device = len(spec.camera_names), spec.image_size, generator.device
    like = torch.zeros((), dtype=torch.float64, device=device)
    bounds = spec.bounds or DEFAULT_BOUNDS
    extent = bounds.extent(like)
    distance = 1.2 * float(extent.max())  # metres from the centre
    spread = 0.8 * float(extent.min())  # most points fall into the workspace
    images = (batch, cameras, side, side)
    depth = distance + spread * (_uniform(images, generator) - 0.5).float()
    focal = [[1.2 * side, 0, side / 2], [0, 1.2 * side, side / 2], [0, 0, 1]]
    intrinsics = torch.tensor(focal, dtype=torch.float64, device=device)
    directions = _random_directions((batch, cameras), generator)
    return Observation(
        rgb=torch.randint(256, (*images, 3), dtype=torch.uint8, generator=generator, device=device),
        depth=depth,
        intrinsics=intrinsics.expand(batch, cameras, 3, 3).clone(),
        extrinsics=_looking_at(bounds.center(like), distance * directions),
        proprioception=_random_proprioception(spec, batch, generator),
        cameras=spec.camera_names,
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


def _random_proprioception(spec: PolicySpec, batch: int, generator: torch.Generator) -> Tensor:
    """(B, 4) float32: open or closed, fingers anywhere, any step of a trained episode."""
    device = generator.device
    opened = torch.randint(2, (batch, 1), generator=generator, device=device).float()
    fingers = FINGER_RANGE[1] * _uniform((batch, 2), generator).float()
    steps = torch.randint(spec.episode_length, (batch, 1), generator=generator, device=device)
    table = [time_feature(step, spec.episode_length) for step in range(spec.episode_length)]
    time = torch.tensor(table, dtype=torch.float32, device=device)[steps]
    return torch.cat([opened, fingers, time], dim=1)
