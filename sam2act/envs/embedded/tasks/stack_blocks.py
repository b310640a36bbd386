"""RLBench's stack_blocks: stack two, three or four blocks of a colour on the green platform."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.placing import Boundary, require_room, require_room_for_fingers
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Waypoint

FEWEST, COUNTS = 2, 3  # 2, 3 or 4 blocks are asked for
TARGETS = tuple(f"stack_blocks_target{number}" for number in range(4))
DISTRACTORS = tuple(f"stack_blocks_distractor{number}" for number in range(4))
PLATFORM = "stack_blocks_target_plane"
_ROOM = 0.04  # metres that a neighbour and half of a finger need
# Half of the palm and of a turned block, across and along the fingers' motion, metres.
_ROOM_AT_TOWER = (0.055, 0.14)
_ABOVE_PLATFORM, _PER_BLOCK = 0.13, 0.06  # metres from the platform's centre to the hand


class StackBlocks(PublishedTask):
    """Variation v: blocks of colour v // 3, 2 + v % 3 of them."""

    variations = COUNTS * len(COLORS)
    graspable = (*TARGETS, *DISTRACTORS)
    manipulated = TARGETS
    receivers = (PLATFORM,)
    told_by_looks = (*TARGETS, *DISTRACTORS)
    lookalikes = ("box",)
    resized = (*TARGETS, *DISTRACTORS)
    resized_receivers = (PLATFORM,)
    object_sizes = (0.8, 1.1)
    receiver_sizes = (0.75, 1.25)
    needs_lines = True  # a swinging arm topples the tower

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Blocks lie around the platform; the distractors share another random colour."""
        frames, names = scene.frames, list(COLORS)
        color = names[variation // COUNTS]
        self.count = FEWEST + variation % COUNTS
        other = scene.random.choice([name for name in names if name != color])
        planes = [f"stack_blocks_boundary{number}" for number in range(4)]
        boundary = Boundary(frames, planes, scene.random)
        for group, paint in ((TARGETS, COLORS[color]), (DISTRACTORS, COLORS[str(other)])):
            for name in group:
                scene.set_color(name, paint)
                boundary.sample(name, min_distance=0.1)
        for name in TARGETS[: self.count]:
            self._grasp(scene, name)
            others = [other for other in self.graspable if other != name]
            require_room_for_fingers(frames, "waypoint1", others, _ROOM)
            require_room(frames, "waypoint1", (PLATFORM,))
            if name != TARGETS[0]:
                self._require_room_beside_the_tower(scene)
        return [
            f"stack {self.count} {color} blocks",
            f"make a tower of {self.count} {color} blocks on the platform",
            f"put {self.count} of the {color} cubes onto the platform, each on the one before",
            f"pile up {self.count} {color} blocks on the platform",
            f"build a stack of {self.count} {color} cubes",
            f"set {self.count} {color} blocks on top of each other",
        ]

    @staticmethod
    def _require_room_beside_the_tower(scene: Scene) -> None:
        """Complain if the palm over a block to grasp would push what is stacked already.

        Raises:
            BoundaryError: the platform is too near.
        """
        grasp, platform = scene.frames.pose("waypoint1"), scene.frames.pose(PLATFORM)
        offset = grasp[:3, :3].T @ (platform[:3, 3] - grasp[:3, 3])
        if (np.abs(offset[:2]) < _ROOM_AT_TOWER).all():
            raise BoundaryError("no room for the hand beside the tower")

    def success(self, scene: Scene) -> bool:
        """As many blocks of the colour stand on the platform, and nothing is grasped."""
        stacked = sum(scene.detects("stack_blocks_success", name) for name in TARGETS)
        return stacked >= self.count and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Six keyframes per block; the last block is not left upwards."""
        yield from self.follow(scene, self._marks(scene))

    def _marks(self, scene: Scene) -> Iterator[str]:
        """The marks of the script in order, each at its place when its turn comes."""
        frames = scene.frames
        for level, name in enumerate(TARGETS[: self.count]):
            self._grasp(scene, name)
            yield from ("waypoint0", "waypoint1", "waypoint2")
            drop = frames.pose("waypoint3")
            drop[2, 3] = frames.pose(PLATFORM)[2, 3] + _ABOVE_PLATFORM + level * _PER_BLOCK
            frames.move("waypoint3", drop)
            yield from ("waypoint3", "waypoint4")
            if level + 1 < self.count:
                yield "waypoint5"
        self._grasp(scene, TARGETS[0])

    @staticmethod
    def _grasp(scene: Scene, name: str) -> None:
        """Bring the marks of the grasp to a block: the hand points down, turned like the block."""
        grasp = scene.frames.pose(name)
        yaw = np.arctan2(grasp[1, 0], grasp[0, 0])
        turn = Rotation.from_euler("z", yaw) * Rotation.from_euler("x", np.pi)
        grasp[:3, :3] = turn.as_matrix()
        scene.frames.move("waypoint1", grasp)
