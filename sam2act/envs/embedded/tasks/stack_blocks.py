"""RLBench's stack_blocks: stack two, three or four blocks of a colour on the green zone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, grasp_weld
from sam2act.envs.embedded.kit.parts import COLORS, CUBE_HALF, cube, patch
from sam2act.envs.embedded.kit.scene import Area, Scene
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

FEWEST, COUNTS = 2, 3  # 2, 3 or 4 blocks are asked for
TARGETS = tuple(f"block{number}" for number in range(4))
DISTRACTORS = tuple(f"distractor_block{number}" for number in range(4))
ZONE_COLOR = (0.10, 0.70, 0.20)
_ZONE_HALF = 0.05
_ZONE_AREA, _BLOCK_AREA = Area((0.27, 0.0), (0.08, 0.15)), Area((0.27, 0.0), (0.18, 0.33))
# A hand that grasps a block must clear a stack, which is as high as its palm: 0.10 + 0.03 metres
# from the grasped block's centre, and half a block.
_ZONE_RADIUS, _BLOCK_RADIUS = 0.12, 0.05
_YAW = (-np.pi / 4, np.pi / 4)
_STACKED_WITHIN = 0.03  # metres per axis, of a block's centre from the zone's
_LEVEL_TOLERANCE = 0.3  # of a block's size
_HOVER, _ABOVE_STACK = 0.11, 0.09  # metres above the place of the grasp, of the release
_GRASP_SHIFT, _DROP = -0.0005, 0.0015  # metres above the middle of a block, above its rest


class StackBlocks(Task):
    """Variation v: blocks of colour v // 3, 2 + v % 3 of them."""

    variations = COUNTS * len(COLORS)
    graspable = (*TARGETS, *DISTRACTORS)
    manipulated = TARGETS
    receivers = ("zone",)
    told_by_looks = (*TARGETS, *DISTRACTORS)
    lookalikes = ("box",)
    object_sizes = (0.75, 1.25)
    receiver_sizes = (0.75, 1.25)

    @property
    def half(self) -> float:
        """Half of a block's edge, metres."""
        return CUBE_HALF * self.options.object_scale

    def fragment(self) -> Fragment:
        """The zone, four blocks that may be stacked, four that may not."""
        zone = patch("zone", _ZONE_HALF * self.options.receiver_scale, ZONE_COLOR)
        blocks = "".join(cube(name, half=self.half) for name in self.graspable)
        return Fragment(zone + blocks, "".join(grasp_weld(name) for name in self.graspable))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Everything lies at random places; the distractors share another random colour."""
        names = list(COLORS)
        color = names[variation // COUNTS]
        self.count = FEWEST + variation % COUNTS
        other = scene.random.choice([name for name in names if name != color])
        self.zone = scene.spawn("zone", _ZONE_AREA, radius=_ZONE_RADIUS)
        height = TABLE_HEIGHT + self.half
        for group, paint in ((TARGETS, COLORS[color]), (DISTRACTORS, COLORS[other])):
            for name in group:
                scene.spawn(name, _BLOCK_AREA, height=height, radius=_BLOCK_RADIUS, yaw=_YAW)
                scene.set_color(name, paint)
        return [
            f"stack {self.count} {color} blocks",
            f"make a tower of {self.count} {color} blocks on the patch",
            f"put {self.count} of the {color} cubes onto the square, each on the one before",
        ]

    def success(self, scene: Scene) -> bool:
        """Blocks of the colour fill as many levels above the zone, and nothing is grasped."""
        levels = {self._level(scene, name) for name in TARGETS} - {None}
        return len(levels) >= self.count and scene.holds_nothing

    def _level(self, scene: Scene, name: str) -> int | None:
        """How many blocks are below this one, None where it is not on the stack."""
        offset = scene.position(name) - self.zone
        level = (offset[2] / self.half - 1) / 2
        stacked = np.abs(offset[:2]).max() < _STACKED_WITHIN
        resting = abs(level - round(level)) < _LEVEL_TOLERANCE
        return round(level) if stacked and resting else None

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes per block."""
        for level, name in enumerate(TARGETS[: self.count]):
            grasp = scene.position(name) + (0, 0, _GRASP_SHIFT)
            turned = down(scene.yaw(name), symmetry=4)
            yield go(grasp + (0, 0, _HOVER), turned, collide=False)
            yield go(grasp, turned, grip=True)
            release = self.zone + (0, 0, (2 * level + 1) * self.half + _GRASP_SHIFT + _DROP)
            yield go(release + (0, 0, _ABOVE_STACK), down(), grip=True, collide=False)
            yield go(release, down())
            yield go(release + (0, 0, _ABOVE_STACK), down())
