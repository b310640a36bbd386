"""Spaces of gymnasium for what environments of this project give and take.

Legend: H W image size in pixels, P numbers of the robot state, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.frames import Frame
from sam2act.core.specs import CameraSpec, EnvSpec
from sam2act.envs.base import WORKSPACE_HIGH, WORKSPACE_LOW

# What samples of a component without limits of its own lie between; larger actions are executed as
# they are. A scripted expert moves less in one frame of 0.05 s.
SAMPLED: Mapping[str, tuple[Any, Any]] = {
    "position": (WORKSPACE_LOW, WORKSPACE_HIGH),  # metres
    "translation": (-0.1, 0.1),  # metres per frame
    "rotation_vector": (-0.5, 0.5),  # radians per frame
}


def observation_space(spec: EnvSpec) -> spaces.Dict:
    """The space of `observation_of`."""
    cameras = spec.camera_specs
    with_depth = [camera for camera in cameras if camera.depth]
    size = sum(part.size for part in spec.state)
    return spaces.Dict(
        {
            "pixels": _of_cameras(
                cameras, lambda c: spaces.Box(0, 255, (c.height, c.width, 3), np.uint8)
            ),
            "depth": _of_cameras(
                with_depth, lambda c: spaces.Box(0, np.inf, (c.height, c.width), np.float32)
            ),
            "intrinsics": _of_cameras(with_depth, lambda _: _matrix(3)),
            "extrinsics": _of_cameras(with_depth, lambda _: _matrix(4)),
            "agent_pos": spaces.Box(-np.inf, np.inf, (size,), np.float32),
        }
    )


def observation_of(frame: Frame, spec: EnvSpec) -> dict[str, Any]:
    """A frame as an observation of gymnasium; all arrays are new.

    Returns:
        `pixels` (camera -> (H, W, 3) uint8), `depth` (camera -> (H, W) float32 metres),
        `intrinsics` (camera -> (3, 3) float64), `extrinsics` (camera -> (4, 4) float64,
        T_world_from_camera) and `agent_pos` (P,) float32, the parts of `spec.state` in that order.
    """
    names = spec.cameras
    with_depth = [camera.name for camera in spec.camera_specs if camera.depth]
    state = [np.asarray(frame.state[part.name], np.float64).ravel() for part in spec.state]
    return {
        "pixels": {name: np.array(frame.rgb[name]) for name in names},
        "depth": {name: np.array(frame.depth[name], np.float32) for name in with_depth},
        "intrinsics": {name: np.array(frame.intrinsics[name], float) for name in with_depth},
        "extrinsics": {name: np.array(frame.extrinsics[name], float) for name in with_depth},
        "agent_pos": np.concatenate([np.zeros(0), *state]).astype(np.float32),
    }


def action_space(spec: ActionSpec) -> spaces.Box:
    """(A,) float32; quaternions need not be of unit length."""
    limits = [_limits(part) for part in spec.components]
    low, high = (np.concatenate(sides).astype(np.float32) for sides in zip(*limits, strict=True))
    return spaces.Box(low, high, dtype=np.float32)


def _limits(part: Component) -> tuple[np.ndarray, np.ndarray]:
    low, high = SAMPLED.get(part.name, (part.low, part.high))
    low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
    return np.broadcast_to(low, (part.size,)), np.broadcast_to(high, (part.size,))


def _of_cameras(cameras: Sequence[CameraSpec], space: Any) -> spaces.Dict:
    return spaces.Dict({camera.name: space(camera) for camera in cameras})


def _matrix(size: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (size, size), np.float64)
