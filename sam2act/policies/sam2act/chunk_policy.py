"""SAM2Act at frame rate: observation -> chunk of actions, without a planner in between.

Coarse and fine branch look for the waypoint as ever. The fine branch's feature there conditions a
diffusion head. Legend: B batch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.specs import FINGER_JOINTS, GRIPPER_OPEN, GRIPPER_POSE, PolicySpec
from sam2act.core.types import ActionChunk, LossOutput, Observation, WindowBatch
from sam2act.geometry.augmentation import augmenting_motion
from sam2act.geometry.scene_bounds import CubeFrame
from sam2act.policies.base import Part, WeightAdapter
from sam2act.policies.diffusion_chunks import (
    CONTROLS,
    NOISE_ERROR,
    ChunkDiffusion,
    DiffusionNoise,
    DrawCount,
)
from sam2act.policies.multiview.losses import HEATMAP_TERM
from sam2act.policies.multiview.network import Cloud
from sam2act.policies.multiview.policy import MultiviewPolicy
from sam2act.policies.multiview.preprocessing import WorldCloud, world_cloud
from sam2act.policies.multiview.samples import Targets, noisy_colors, placed
from sam2act.policies.multiview.settings import PolicySettings, policy_spec
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.sam2act.chunk_network import ChunkNetwork, Hand
from sam2act.policies.sam2act.chunk_weights import ChunkWeights
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.processing.color_jitter import jitter_colors

STATE = (GRIPPER_OPEN, FINGER_JOINTS, GRIPPER_POSE)
_OPENING, _PROPRIOCEPTION, _POSE = slice(0, 1), slice(0, 3), slice(3, 10)  # of the state
EXECUTOR = "open_loop(8)"


@dataclass(frozen=True)
class ChunkNoise:
    """All random numbers of one training step, one row per sample of the global batch."""

    sample: TrainingNoise
    diffusion: DiffusionNoise
    waypoint: Tensor  # (B, 3) uniform in [-1, 1]

    def select(self, part: Part) -> ChunkNoise:
        """Those of some samples."""
        parts = (self.sample.select(part), self.diffusion.select(part), self.waypoint[part])
        return ChunkNoise(*parts)

    def to(self, device: torch.device | str) -> ChunkNoise:
        """The same numbers on `device`."""
        parts = (self.sample.to(device), self.diffusion.to(device), self.waypoint.to(device))
        return ChunkNoise(*parts)


class SAM2ActChunkPolicy(MultiviewPolicy):
    """`action_head: diffusion_chunk`. Heat maps show where the hand is to go: to the next keyframe,
    or to where it is after the chunk."""

    network: ChunkNetwork
    Config = NetworkConfig

    def __init__(self, network: ChunkNetwork, settings: PolicySettings, spec: PolicySpec) -> None:
        """Join a network and settings; `build` makes both from configurations.

        Raises:
            ConfigError: the sampler cannot take so many steps.
        """
        super().__init__(network, settings, spec)
        self.chunks = ChunkDiffusion(network.config.chunk)

    # ------------------------------------------------------------------------------- building
    @classmethod
    def build_network(cls, config: NetworkConfig, *, pretrained: bool) -> ChunkNetwork:
        """Two stages and the diffusion head."""
        return ChunkNetwork(config, pretrained=pretrained)

    @classmethod
    def spec_of(cls, experiment: ExperimentConfig, config: NetworkConfig) -> PolicySpec:
        """Colour and depth in, chunks of actions at frame rate out."""
        chunk = config.chunk
        return dataclasses.replace(
            policy_spec(experiment, config),
            state=STATE,
            action=dataclasses.replace(CONTROLS[chunk.control], horizon=chunk.chunk),
            executor=EXECUTOR if chunk.chunk >= 8 else "single",
            goal=chunk.waypoint,
        )

    @property
    def weight_adapter(self) -> WeightAdapter:
        """Weights are named as in the modules; a run may start from SAM2Act's."""
        return ChunkWeights(self)

    # ------------------------------------------------------------------------------- training
    @property
    def term_names(self) -> tuple[str, ...]:
        """The loss of the heat maps, and the error of the predicted noise."""
        return (HEATMAP_TERM, NOISE_ERROR)

    @property
    def sample_value_names(self) -> tuple[str, ...]:
        """None: windows belong to no keyframe."""
        return ()

    @property
    def leaves_parameters_unused(self) -> bool:
        """The head has a history embedder that nothing uses."""
        return True

    def sample_noise(self, n: int, generator: torch.Generator) -> ChunkNoise:  # type: ignore[override]
        """The random numbers of the loss of `n` samples."""
        return ChunkNoise(
            TrainingNoise.sample(n, generator),
            self.chunks.sample_noise(n, generator),
            2 * torch.rand(n, 3, generator=generator) - 1,
        )

    def loss(self, batch: Any, language: Tensor, noise: Any) -> LossOutput:
        """Losses of a `WindowBatch` of B samples, with their `ChunkNoise`.

        Args:
            batch: on the network's device.
            language: (B, L, lang_dim).
            noise: the random numbers of these samples, on the same device.
        """
        self.begin_call()
        cloud, targets, hand, frame = self.placed_window(batch, noise.sample)
        teacher = self.teacher_forcing(targets, noise.sample)
        proprio = proprioception(batch.observed)
        output = self.network(cloud, proprio, language, teacher)
        heatmap_loss, _ = self._heatmap_loss(self.network.stages(output, targets.waypoint))
        off = self._chunk.waypoint_noise * frame.scale[:, None] * noise.waypoint
        waypoint = targets.waypoint + (off if self.training else 0)
        condition = self.network.condition(output, waypoint, hand)
        error = self.chunks.error(self.network.action_model, condition, batch, noise.diffusion)
        total = heatmap_loss + self._chunk.loss_weight * error
        return LossOutput(total, {HEATMAP_TERM: heatmap_loss.detach(), NOISE_ERROR: error.detach()})

    @torch.no_grad()
    def placed_window(
        self, batch: WindowBatch, noise: TrainingNoise
    ) -> tuple[Cloud, Targets, Hand, CubeFrame]:
        """Augment, crop and place a batch in the cube; waypoint and hand move with it."""
        settings, observed = self.settings, batch.observed
        assert batch.goal is not None, "the spec asks for a goal"
        with torch.autocast(batch.action.device.type, enabled=False):
            cloud = self._colored_cloud(observed, noise)
            goal, pose = batch.goal, observed.proprioception[:, _POSE]
            if settings.augment and self.training:
                motion = augmenting_motion(
                    goal,
                    noise.augmentation,
                    settings.bounds,
                    settings.translation_range,
                    settings.rotation_range,
                )
                cloud = WorldCloud(motion.of_points(cloud.points), cloud.rgb)
                goal, pose = motion.of_poses(goal), motion.of_poses(pose)
            inside, frame = placed(cloud, settings, noise.subset_seed)
            bins = torch.zeros(len(goal), 3, dtype=torch.int64, device=goal.device)
            targets = Targets(frame.to_cube(goal[:, :3]), bins)
            return inside, targets, hand_in(frame, pose, observed), frame

    def _colored_cloud(self, observed: Observation, noise: TrainingNoise) -> WorldCloud:
        settings = self.settings
        if settings.color_jitter and self.training:
            rgb = jitter_colors(observed.rgb, settings.color_jitter, noise.color)
            observed = dataclasses.replace(observed, rgb=rgb)
        cloud = world_cloud(observed)
        if settings.color_noise and self.training:
            cloud = WorldCloud(cloud.points, noisy_colors(cloud.rgb, settings.color_noise))
        return cloud

    # --------------------------------------------------------------------------------- acting
    def initial_state(self, n: int) -> DrawCount:
        """No chunk drawn yet."""
        return DrawCount.none(n)

    @torch.no_grad()
    def act(
        self, observation: Observation, language: Tensor, state: DrawCount
    ) -> tuple[ActionChunk, DrawCount]:
        """A chunk for each of B environments; not valid where nothing of the workspace is seen."""
        self.begin_call()
        cloud, frame = placed(world_cloud(observation), self.settings.when_acting())
        output = self.network(cloud, proprioception(observation), language)
        hand = hand_in(frame, observation.proprioception[:, _POSE], observation)
        condition = self.network.condition(output, output.waypoint, hand)
        head = self.network.action_model
        chunk, state = self.chunks.draw(head, condition, state, self.spec.action)
        seen = cloud.valid.any(dim=1, keepdim=True)
        return dataclasses.replace(chunk, valid=chunk.valid & seen), state

    @property
    def _chunk(self) -> Any:
        return self.network.config.chunk


def proprioception(observation: Observation) -> Tensor:
    """(B, 4): opening and finger joints as SAM2Act gets them, and no time: at frame rate episodes
    have no fixed number of steps."""
    known = observation.proprioception[:, _PROPRIOCEPTION]
    return torch.cat([known, torch.zeros_like(known[:, :1])], dim=1)


def hand_in(frame: CubeFrame, pose: Tensor, observation: Observation) -> Hand:
    """The gripper with pose (B, 7) of the world, in a cube."""
    opening = observation.proprioception[:, _OPENING]
    return Hand(frame.to_cube(pose[:, :3]), pose[:, 3:], opening)
