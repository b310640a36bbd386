"""From what environments report to what a policy expects.

Legend: B environments, T frames of an observation, K cameras of one image size, H W its pixels.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sam2act.core.specs import CameraSpec, PolicySpec
from sam2act.core.types import ContractError, Frame, HasFrame, Observation, state_rows


def policy_observation(
    observations: Sequence[HasFrame], spec: PolicySpec, steps: Sequence[int]
) -> Observation:
    """The batched observation of B environments, of one frame each.

    Args:
        observations: B observations.
        spec: of the policy: cameras, whether it wants depth, parts of the state.
        steps: (B,) actions executed so far in each episode.

    Returns:
        images of the cameras whose size is that of the first one, those of the others in `others`;
        depth and matrices only where the policy wants depth, masks where it wants these.

    Raises:
        ContractError: an observation lacks something that the policy wants.
    """
    frames = [observation.frame() for observation in observations]
    reported = {name: [frame.state.get(name) for frame in frames] for name in frames[0].state}
    numbers = {
        name: np.array(values)
        for name, values in reported.items()
        if all(value is not None for value in values)
    }
    state = state_rows(spec.state, numbers, np.array(steps), spec.episode_length)
    groups = _by_size(spec.camera_specs, frames[0]) if frames else []
    first = _images(frames, groups[0] if groups else [])
    others = [camera for group in groups[1:] for camera in group]
    return dataclasses.replace(
        first,
        proprioception=torch.from_numpy(state),
        others={camera.name: _images(frames, [camera]) for camera in others},
    )


def _by_size(cameras: Sequence[CameraSpec], frame: Frame) -> list[list[CameraSpec]]:
    """The cameras of equal image size in a frame, the first one's first."""
    groups: dict[tuple[int, ...], list[CameraSpec]] = {}
    for camera in cameras:
        groups.setdefault(np.shape(frame.rgb.get(camera.name, ())), []).append(camera)
    return list(groups.values())


def _images(frames: Sequence[Frame], cameras: Sequence[CameraSpec]) -> Observation:
    """What cameras of one size see, without the state."""
    names = tuple(camera.name for camera in cameras)
    if not names:
        return Observation(rgb=torch.zeros(len(frames), 0, 0, 0, 3, dtype=torch.uint8), cameras=())

    def stacked(kind: str) -> torch.Tensor:
        values = [[_one(frame, kind, camera) for camera in cameras] for frame in frames]
        joined = np.array(values)
        return torch.from_numpy(joined.astype(np.int64) if kind == "mask" else joined)

    masks = stacked("mask") if any(camera.mask for camera in cameras) else None
    if not any(camera.depth for camera in cameras):
        return Observation(rgb=stacked("rgb"), cameras=names, mask=masks)
    return Observation(
        rgb=stacked("rgb"),
        mask=masks,
        depth=stacked("depth"),
        intrinsics=stacked("intrinsics"),
        extrinsics=stacked("extrinsics"),
        cameras=names,
    )


def _one(frame: Frame, kind: str, camera: CameraSpec) -> np.ndarray:
    """An image or a matrix; a neutral one where it is absent and the policy wants no depth."""
    values = getattr(frame, kind)
    if camera.name in values:
        return np.asarray(values[camera.name])
    if kind in ("rgb", "mask") or camera.depth:
        raise ContractError(
            f"{kind}: expected that of camera {camera.name}, the environment gives "
            f"{', '.join(values) or 'none'}"
        )
    nothing = {"depth": np.zeros(np.shape(frame.rgb[camera.name])[:2], np.float32)}
    return nothing.get(kind, np.eye(3 if kind == "intrinsics" else 4))


class FrameHistory:
    """The latest frames of running episodes, as far back as a policy looks."""

    def __init__(self, spec: PolicySpec) -> None:
        """Keep what the frames `spec.offsets` need; those of the future (> 0) are not seen."""
        self._spec = spec
        self._offsets = spec.seen or (0,)
        self._frames: dict[int, deque[Frame]] = {}  # by id of the episode, newest last

    def begin(self, env_id: int) -> None:
        """Forget the episode that `env_id` named before."""
        self._frames.pop(env_id, None)

    def observe(
        self, env_ids: Sequence[int], observations: Sequence[HasFrame], steps: Sequence[int]
    ) -> Observation:
        """Take up a frame of each of B episodes; what the policy sees now.

        With several offsets it has a time axis of T frames behind the batch axis; frames before
        the start of an episode are its first one.

        Args:
            env_ids: ids of the B episodes.
            observations: B observations.
            steps: (B,) actions executed so far in each.
        """
        if self._offsets == (0,):
            return policy_observation(observations, self._spec, steps)
        for env_id, observation in zip(env_ids, observations, strict=True):
            empty: deque[Frame] = deque(maxlen=1 - min(self._offsets))
            self._frames.setdefault(env_id, empty).append(observation.frame())
        moments = []
        for offset in self._offsets:
            kept = [self._frames[env_id] for env_id in env_ids]
            frames = [known[max(len(known) - 1 + offset, 0)] for known in kept]
            times = [max(step + offset, 0) for step in steps]
            moments.append(policy_observation(frames, self._spec, times))
        return _joined(moments, lambda tensors: torch.stack(tensors, dim=1))


def _joined(
    parts: Sequence[Observation], join: Callable[[list[torch.Tensor]], torch.Tensor]
) -> Observation:
    """One observation whose tensors are those of `parts`, joined."""
    first = parts[0]
    names = [item.name for item in dataclasses.fields(first)]
    tensors = [name for name in names if isinstance(getattr(first, name), torch.Tensor)]
    joined: dict[str, Any] = {n: join([getattr(part, n) for part in parts]) for n in tensors}
    return dataclasses.replace(
        first,
        **joined,
        others={name: _joined([p.others[name] for p in parts], join) for name in first.others},
    )
