"""Recording episodes of one's own robot, frame by frame, for any format of this package.

Metres, radians, quaternions xyzw, world frame (usually the base of the robot). Cameras may have any
size and aspect. Legend: T frames, J joints, H W image size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam2act.data.exchange import (
    DEPTH_CODE,
    DEPTH_RANGE,
    EXTRINSICS,
    INTRINSICS,
    RGB,
    EpisodeWriter,
    PlainEpisode,
)
from sam2act.data.source import SourceError
from sam2act.geometry.depth_codes import depth_codes

_STATE = {"gripper_pose": 7, "gripper_open": 1, "joint_positions": None, "finger_joints": 2}


class EpisodeRecorder:
    """Collects the frames of one episode after the other and hands them to a writer."""

    def __init__(
        self,
        writer: EpisodeWriter,
        *,
        rate: float,
        intrinsics: Mapping[str, np.ndarray],
        extrinsics: Mapping[str, np.ndarray],
        farthest: float = 4.0,
    ) -> None:
        """Begin.

        Args:
            writer: takes finished episodes, a `LeRobotWriter` for example.
            rate: frames per second, from which joint speeds are computed.
            intrinsics: camera -> (3, 3) in pixels of its own images.
            extrinsics: camera -> (4, 4), world from camera; x right, y down, z ahead. Of a camera
                that moves, the one of each frame goes to `add`.
            farthest: metres of the largest depth code; what lies beyond counts as not measured.
        """
        self._writer, self._rate, self._farthest = writer, rate, farthest
        self._intrinsics, self._extrinsics = dict(intrinsics), dict(extrinsics)
        self._images: dict[str, list[np.ndarray]] = {}
        self._numbers: dict[str, list[np.ndarray]] = {}

    def add(
        self,
        rgb: Mapping[str, np.ndarray],
        depth: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        extrinsics: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Append a frame.

        Args:
            rgb: camera -> (H, W, 3) uint8.
            depth: camera -> (H, W) metres along the optical axis; 0 or NaN = nothing measured.
            state: `gripper_pose` (7,), `gripper_open` (any number that grows with the opening),
                `joint_positions` (J,) and, where there are any, `finger_joints` (2,) in metres.
            extrinsics: of cameras that move.

        Raises:
            SourceError: something lacks, or has another form.
        """
        moved = {**self._extrinsics, **(extrinsics or {})}
        if set(rgb) != set(depth) or not set(rgb) <= set(self._intrinsics) & set(moved):
            raise SourceError(
                f"cameras: rgb of {sorted(rgb)}, depth of {sorted(depth)}, intrinsics of "
                f"{sorted(self._intrinsics)}, extrinsics of {sorted(moved)}; a camera needs all"
            )
        for camera, colours in rgb.items():
            metres = np.nan_to_num(np.asarray(depth[camera], np.float64))
            if colours.dtype != np.uint8 or colours.shape != (*metres.shape, 3):
                raise SourceError(
                    f"camera {camera}: rgb is {colours.dtype} of shape {colours.shape} and depth "
                    f"has shape {metres.shape}; give uint8 (H, W, 3) and (H, W)"
                )
            metres = np.where(metres > self._farthest, 0.0, metres)
            self._images.setdefault(camera + RGB, []).append(colours.copy())
            self._images.setdefault(camera + DEPTH_CODE, []).append(
                depth_codes(metres / self._farthest)
            )
            self._number(camera + INTRINSICS, self._intrinsics[camera])
            self._number(camera + EXTRINSICS, moved[camera])
            self._number(camera + DEPTH_RANGE, [0.0, self._farthest])
        self._add_state(state)

    def save(self, instruction: str, keyframes: Sequence[int] = ()) -> int:
        """Hand the episode to the writer and begin the next one; the frames that it had.

        Args:
            instruction: what the robot was told.
            keyframes: marked by hand; without them the heuristic finds them.

        Raises:
            SourceError: there are fewer than two frames.
        """
        episode = self._episode(instruction, keyframes)
        self._writer.add(episode)
        self._images, self._numbers = {}, {}
        return episode.length

    def _add_state(self, state: Mapping[str, Any]) -> None:
        for name, size in _STATE.items():
            if name not in state:
                if name == "finger_joints":  # of a gripper without such: its range by its state
                    continue
                raise SourceError(f"state: has no {name}, but {', '.join(state) or 'nothing'}")
            values = np.asarray(state[name], np.float64).reshape(-1)
            if (size is not None and len(values) != size) or not np.isfinite(values).all():
                raise SourceError(f"state: {name} is {values.tolist()}; {size} finite numbers")
            self._number(name, values[0] if name == "gripper_open" else values)
        flag = float(state.get("ignore_collisions", 0.0))
        self._number("ignore_collisions", flag)

    def _number(self, name: str, value: Any) -> None:
        self._numbers.setdefault(name, []).append(np.asarray(value, np.float64))

    def _episode(self, instruction: str, keyframes: Sequence[int]) -> PlainEpisode:
        """What was collected."""
        images = self._images
        length = len(self._numbers.get("gripper_pose", ()))
        if length < 2:
            raise SourceError(f"an episode of {length} frames holds no motion; add frames first")
        numbers = {name: np.stack(values) for name, values in self._numbers.items()}
        joints = numbers["joint_positions"]
        numbers["joint_velocities"] = np.gradient(joints, 1 / self._rate, axis=0)
        if "finger_joints" not in numbers:
            numbers["finger_joints"] = _fingers(numbers["gripper_open"])
        return PlainEpisode(
            length=length,
            instructions=(instruction,),
            numbers=numbers,
            images={name: of[0].shape[:2] for name, of in images.items()},
            image=lambda name, frame: images[name][frame],
            facts={"keyframes": list(keyframes)} if keyframes else {},
        )


def _fingers(gripper_open: np.ndarray) -> np.ndarray:
    """(T, 2) metres between closed (0) and open (0.04) in proportion to the recorded states."""
    low, high = gripper_open.min(), gripper_open.max()
    share = (gripper_open - low) / (high - low) if high > low else np.ones(len(gripper_open))
    return np.repeat(0.04 * share[:, None], 2, axis=1)
