"""A policy of this project as an agent for YARR's rollout generator.

For those who evaluate through YARR; this project's own evaluation does not need it. YARR is
imported when an action is given back. Legend: K camera, H W image size, L D language tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2act.core.types import ContractError, Instruction, Observation, Session
from sam2act.envs.rlbench.versions import require_packages

# From CLIP's token numbers (1, 77) int64 to what the policy takes: one text or features (1, L, D).
TokenReader = Callable[[Tensor], Instruction]


class YarrAgent:
    """What YARR calls an agent; it acts for one environment and does not learn.

    The time entry of the proprioception is the one of YARR's `low_dim_state`: it runs over the
    episode length that YARR's environment was made with (published: 25, as in training).
    """

    def __init__(
        self,
        policy: Session,
        read_tokens: TokenReader,
        *,
        load_policy: Callable[[str], Session] | None = None,
    ) -> None:
        """Act with `policy`.

        Args:
            policy: the policy to start with.
            read_tokens: makes the instruction of YARR's `lang_goal_tokens`.
            load_policy: makes another policy of the path that YARR gives to `load_weights`.

        Raises:
            MissingSimulatorError: YARR is not installed, or another project of that name.
        """
        require_packages(("yarr",), "YarrAgent")
        self._policy = policy
        self._read_tokens = read_tokens
        self._load_policy = load_policy
        self._instruction: tuple[bytes, Instruction] | None = None

    def build(self, training: bool, device: torch.device | None = None) -> None:
        """Nothing to build; the policy keeps the device of its weights.

        Raises:
            NotImplementedError: for training.
        """
        if training:
            raise NotImplementedError("YarrAgent cannot train; use sam2act/train.py")

    def reset(self) -> None:
        """Start an episode; memories are emptied."""
        self._policy.reset()

    def act(self, step: int, observation: Mapping[str, Any], deterministic: bool = True) -> Any:
        """YARR's `ActResult` with the action (9,) float32; the policy is always deterministic.

        Args:
            step: YARR's training step, without meaning here.
            observation: see `policy_observation`, with `lang_goal_tokens` (1, 1, 77).
            deterministic: without meaning here.

        Raises:
            ContractError: an entry is missing or malformed.
        """
        from yarr.agents.agent import ActResult

        batch = policy_observation(observation, self._policy.spec.cameras)
        tokens = _entry(observation, "lang_goal_tokens").reshape(1, -1).to(torch.int64).cpu()
        chunk = self._policy.act(batch, self._instruction_of(tokens))
        return ActResult(chunk.values[0, 0].float().cpu().numpy())

    def _instruction_of(self, tokens: Tensor) -> Instruction:
        """The instruction of `tokens`, made once per episode."""
        key = tokens.numpy().tobytes()
        if self._instruction is None or self._instruction[0] != key:
            self._instruction = key, self._read_tokens(tokens)
        return self._instruction[1]

    def load_weights(self, savedir: str) -> None:
        """Continue with the policy that `load_policy` makes of `savedir`.

        Raises:
            NotImplementedError: no `load_policy` was given.
        """
        if self._load_policy is None:
            raise NotImplementedError(
                f"load_weights: {savedir} cannot be loaded; give YarrAgent a load_policy, for "
                "example one that calls PolicySession.from_checkpoint"
            )
        self._policy = self._load_policy(savedir)

    def save_weights(self, savedir: str) -> None:
        """Refused: training writes the checkpoints."""
        raise NotImplementedError("YarrAgent has no weights of its own to save")

    def update(self, step: int, replay_sample: dict[str, Any]) -> dict[str, Any]:
        """Refused: training is done by this project's own programs."""
        raise NotImplementedError("YarrAgent cannot train; use sam2act/train.py")

    def update_summaries(self) -> list[Any]:
        """No summaries."""
        return []

    def act_summaries(self) -> list[Any]:
        """No summaries."""
        return []


def policy_observation(observation: Mapping[str, Any], cameras: tuple[str, ...]) -> Observation:
    """The policy's observation of one YARR observation.

    Depth is the distance along the optical axis of the points of YARR's clouds: z of the camera
    frame. Unprojecting it gives the same clouds back.

    Args:
        observation: per camera `<camera>_rgb` (1, 1, 3, H, W) 0..255, `<camera>_point_cloud`
            (1, 1, 3, H, W) metres in the world frame, `<camera>_camera_extrinsics` (1, 1, 4, 4),
            `<camera>_camera_intrinsics` (1, 1, 3, 3), and `low_dim_state` (1, 1, 4): gripper open,
            two finger joints in metres, time feature.
        cameras: names of the K cameras in the order of the policy.

    Raises:
        ContractError: an entry is missing or malformed.
    """
    extrinsics = [_entry(observation, f"{c}_camera_extrinsics", (4, 4)) for c in cameras]
    intrinsics = [_entry(observation, f"{c}_camera_intrinsics", (3, 3)) for c in cameras]
    depths = [
        _depth(_image(observation, f"{camera}_point_cloud"), pose)
        for camera, pose in zip(cameras, extrinsics, strict=True)
    ]
    return Observation(
        rgb=torch.stack([_colors(observation, f"{camera}_rgb") for camera in cameras])[None],
        depth=torch.stack(depths)[None],
        intrinsics=torch.stack(intrinsics)[None].to(torch.float64),
        extrinsics=torch.stack(extrinsics)[None].to(torch.float64),
        proprioception=_entry(observation, "low_dim_state", (4,))[None].to(torch.float32),
        cameras=tuple(cameras),
    )


def _depth(cloud: Tensor, pose: Tensor) -> Tensor:
    """(H, W) float64 metres along the optical axis of a cloud (H, W, 3) in the world frame."""
    pose = pose.to(torch.float64)
    return (cloud.to(torch.float64) - pose[:3, 3]) @ pose[:3, 2]


def _colors(observation: Mapping[str, Any], name: str) -> Tensor:
    """(H, W, 3) uint8; YARR stores bytes or the same numbers as floats."""
    image = _image(observation, name)
    if image.dtype == torch.uint8:
        return image
    rounded = image.round()
    if not (rounded == image).all() or image.min() < 0 or image.max() > 255:
        raise ContractError(
            f"{name}: expected whole numbers 0..255, got {image.min():.3f} to {image.max():.3f}; "
            "give the colours as RLBench reports them, not normalised"
        )
    return rounded.to(torch.uint8)


def _image(observation: Mapping[str, Any], name: str) -> Tensor:
    """(H, W, 3) of an entry with channels first."""
    image = _entry(observation, name)
    if image.ndim != 3 or image.shape[0] != 3:
        raise ContractError(f"{name}: expected (1, 1, 3, H, W), got (1, 1, {_sizes(image)})")
    return image.permute(1, 2, 0)


def _entry(
    observation: Mapping[str, Any], name: str, shape: tuple[int, ...] | None = None
) -> Tensor:
    """An entry of one environment and one moment, without these two axes.

    Raises:
        ContractError: it is missing, or has more than one of either, or another shape.
    """
    if name not in observation:
        raise ContractError(
            f"{name}: missing in YARR's observation, which has {', '.join(sorted(observation))}"
        )
    value = observation[name]
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    if tuple(tensor.shape[:2]) != (1, 1) or (shape and tuple(tensor.shape[2:]) != shape):
        expected = ", ".join(map(str, shape)) if shape else "..."
        raise ContractError(
            f"{name}: expected (1, 1, {expected}) for one environment with timesteps=1, got "
            f"({_sizes(tensor)})"
        )
    return tensor[0, 0]


def _sizes(tensor: Tensor) -> str:
    return ", ".join(map(str, tensor.shape))
