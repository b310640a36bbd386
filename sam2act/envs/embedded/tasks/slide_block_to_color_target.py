"""SAM2Act's slide_block_to_color_target: push a block onto the target of the asked colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sam2act.envs.embedded.kit.assembly import Look
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Waypoint

COLORS = ("green", "blue", "pink", "yellow")
_FRICTION = 0.3
TARGETS = ("target1", "target2", "target3", "target4")
# The way to every target, in the published scene's marks: straight on, or around the block.
WAYS = {1: "ab", 2: "abcde", 3: "ab", 4: "abcde"}


class SlideBlockToColorTarget(PublishedTask):
    """Variation v asks for colour v (green, blue, pink, yellow), which lies on side v."""

    variations = len(COLORS)
    manipulated = ("block",)
    told_by_looks = TARGETS
    lookalikes = ("box",)
    pushed = ("block",)
    resized = ("block",)
    object_sizes = (0.75, 1.25)

    def looks(self) -> Mapping[str, Look]:
        """What is pushed slides more easily than things usually do: it must not tip over."""
        return {"block": Look(friction=_FRICTION)}

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The script gets the marks of the way to the asked target."""
        self._put_on_table(scene)
        self.side = self.side_of(scene, variation)
        color = COLORS[variation]
        for number, letter in enumerate(WAYS[self.side]):
            point = scene.frames.pose(f"point{self.side}{letter}")
            scene.frames.move(f"waypoint{number}", point)
        return [
            f"slide the block to {color} target",
            f"push the block onto the {color} square",
            f"move the cube across the table until it lies on the {color} target",
            f"make the block touch the {color} square",
            f"bring the cube to the {color} target by pushing it",
        ]

    def _put_on_table(self, scene: Scene) -> None:
        """Let a block of another size stand where the published one does."""
        block, shape = scene.frames.pose("block"), self.facts.objects["block"].shape
        assert shape is not None
        block[2, 3] += (self.options.object_scale - 1) * shape.size[2] / 2
        scene.frames.move("block", block)

    def side_of(self, scene: Scene, variation: int) -> int:
        """Number of the target that is asked for, from 1."""
        return variation + 1

    def success(self, scene: Scene) -> bool:
        """Some part of the block is above the asked target."""
        return scene.detects(f"success{self.side}", "block")

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Two keyframes where the push is straight ahead, else five around the block."""
        yield from self.follow(scene, [f"waypoint{k}" for k in range(len(WAYS[self.side]))])


class Permuted(SlideBlockToColorTarget):
    """The colours change sides from scene to scene: the words count, not the place."""

    def side_of(self, scene: Scene, variation: int) -> int:
        """Number of the target that has been given the asked colour, from 1."""
        colors = [self.facts.shape(name).color for name in TARGETS]
        order = scene.random.permutation(len(TARGETS))
        for target, number in zip(TARGETS, order, strict=True):
            scene.set_color(target, colors[number])
        return int(list(order).index(variation)) + 1


VARIANTS = {"permuted": Permuted}
