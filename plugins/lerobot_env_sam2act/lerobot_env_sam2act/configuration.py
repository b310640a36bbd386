"""The keys of `--env.<key>`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from lerobot_env_sam2act.environment import NAMESPACE, gym_id
from sam2act.core.actions import EE_DELTA, EE_POSE, KEYFRAME_POSE
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.envs.recorded import RECORDED_STATE

ACTIONS = {"keyframe": KEYFRAME_POSE, "ee_pose": EE_POSE, "ee_delta": EE_DELTA}


@EnvConfig.register_subclass("sam2act")
@dataclass
class Sam2ActEnv(EnvConfig):
    """Tasks of the embedded simulator.

    Attributes:
        task: name of the task.
        control: `keyframe`, `ee_pose` or `ee_delta`.
        cameras: cameras to observe with.
        image_size: pixels per side.
        scene_set: LeRobot's seeds number the episodes of this set, as `sam2act eval --seed` does.
        episode_length: most steps of an episode; None = 25 keyframes or 400 frames.
        fps: frames per second that data sets of this environment state.
    """

    task: str | None = "put_block_back"
    fps: int = 20
    control: str = "keyframe"
    cameras: list[str] = field(default_factory=lambda: list(POLICY_CAMERAS))
    image_size: int = 128
    scene_set: int = 0
    episode_length: int | None = None

    def __post_init__(self) -> None:
        if self.control not in ACTIONS:
            raise ValueError(f"control: {self.control!r} is not one of {', '.join(ACTIONS)}")
        shape = (self.image_size, self.image_size, 3)
        state = sum(part.size for part in RECORDED_STATE)
        self.features = {
            "action": PolicyFeature(FeatureType.ACTION, (ACTIONS[self.control].size,)),
            "agent_pos": PolicyFeature(FeatureType.STATE, (state,)),
        }
        self.features_map = {"action": "action", "agent_pos": "observation.state"}
        for camera in self.cameras:
            self.features[f"pixels/{camera}"] = PolicyFeature(FeatureType.VISUAL, shape)
            self.features_map[f"pixels/{camera}"] = f"observation.images.{camera}"

    @property
    def package_name(self) -> str:
        """Imported by LeRobot to register the ids."""
        return NAMESPACE

    @property
    def gym_id(self) -> str:
        """The id of the task."""
        return gym_id(str(self.task))

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment."""
        return {
            "control": self.control,
            "cameras": tuple(self.cameras),
            "image_size": self.image_size,
            "scene_set": self.scene_set,
            "episode_length": self.episode_length,
            "render_mode": "rgb_array",
        }

    def create_envs(
        self, n_envs: int, use_async_envs: bool = False
    ) -> dict[str, dict[int, gymnasium.vector.VectorEnv]]:
        """{suite: {number of the task: vector environment}}, as LeRobot from 0.5 on asks for."""
        kind = gymnasium.vector.AsyncVectorEnv if use_async_envs else gymnasium.vector.SyncVectorEnv
        makers = [lambda: gymnasium.make(self.gym_id, **self.gym_kwargs)] * n_envs
        mode = gymnasium.vector.AutoresetMode.SAME_STEP
        return {self.type: {0: kind(makers, autoreset_mode=mode)}}
