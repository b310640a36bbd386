"""LeRobot's batches as what a policy of sam2act acts on.

Legend: B rows of a batch, H W image size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2act.core.frames import Frame
from sam2act.envs.recorded import RECORDED_STATE

IMAGES = "observation.images."
STATE = "observation.state"
ROBOT_STATE = "observation.robot_state"
IS_FIRST = "is_first"
GEOMETRY = ("depth", "intrinsics", "extrinsics")


def frames_of(batch: Mapping[str, Any]) -> Iterator[Frame]:
    """Every row of a batch as a frame."""
    images = {
        key.removeprefix(IMAGES): picture_bytes(value).numpy()
        for key, value in batch.items()
        if key.startswith(IMAGES)
    }
    geometry = {kind: _geometry(batch, kind) for kind in GEOMETRY}
    state = named_state(batch[STATE].double().cpu().numpy())
    for row in range(len(batch[STATE])):
        yield Frame(
            rgb={camera: values[row] for camera, values in images.items()},
            state={name: values[row] for name, values in state.items()},
            **{
                kind: {camera: value[row] for camera, value in cameras.items()}
                for kind, cameras in geometry.items()
            },
        )


def first_rows(batch: Mapping[str, Any], count: int) -> list[bool]:
    """Which rows say that their episode begins; none where the batch does not say."""
    flags = batch.get(f"observation.{IS_FIRST}", batch.get(ROBOT_STATE, {}).get(IS_FIRST))
    if flags is None:
        return [False] * count
    return [bool(flag) for flag in flags.reshape(count, -1).any(dim=1)]


def picture_bytes(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 of (B, 3, H, W) in 0..1, which LeRobot made of the same bytes."""
    return (images.cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def named_state(state: np.ndarray) -> dict[str, np.ndarray]:
    """The parts (B, n) of robot states (B, 17) by name."""
    ends = np.cumsum([part.size for part in RECORDED_STATE])
    parts = np.split(state, ends[:-1], axis=1)
    return {part.name: values for part, values in zip(RECORDED_STATE, parts, strict=True)}


def _geometry(batch: Mapping[str, Any], kind: str) -> dict[str, np.ndarray]:
    """By camera: nested in the state of the robot, or under `observation.<kind>.<camera>`."""
    prefix = f"observation.{kind}."
    found = dict(batch.get(ROBOT_STATE, {}).get(kind, {}))
    found |= {key.removeprefix(prefix): v for key, v in batch.items() if key.startswith(prefix)}
    return {camera: value.cpu().numpy() for camera, value in found.items()}
