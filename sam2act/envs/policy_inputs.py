"""From what an environment reports to what a policy expects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sam2act.core.types import Observation, proprioception
from sam2act.data.rlbench.types import RecordedObservation


def policy_observation(
    observations: Sequence[RecordedObservation], cameras: Sequence[str], steps: Sequence[int]
) -> Observation:
    """The batched observation of B environments.

    Args:
        observations: B observations with colour and depth (metres) of `cameras`.
        cameras: names in the order of the policy.
        steps: (B,) keyframes executed so far in each episode.
    """

    def stacked(template: str) -> torch.Tensor:
        values = [[_get(o, template.format(camera)) for camera in cameras] for o in observations]
        return torch.from_numpy(np.array(values))

    state = [
        proprioception(o.gripper_open, o.gripper_joint_positions, step)
        for o, step in zip(observations, steps, strict=True)
    ]
    return Observation(
        rgb=stacked("{}_rgb"),
        depth=stacked("{}_depth"),
        intrinsics=stacked("{}_camera_intrinsics"),
        extrinsics=stacked("{}_camera_extrinsics"),
        proprioception=torch.from_numpy(np.array(state)),
        cameras=tuple(cameras),
    )


def _get(observation: RecordedObservation, name: str) -> np.ndarray:
    """An image or a calibration; calibrations lie in `misc`."""
    return observation.misc[name] if name in observation.misc else getattr(observation, name)
