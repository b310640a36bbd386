"""MemoryBench: move the block from its patch to the centre, press the button, put it back."""

from __future__ import annotations

from sam2act.envs.embedded.kit.placing import Boundary
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import LatchedConditions


class PutBlockBack(PublishedTask):
    """Variation v starts with the block on patch v + 1."""

    variations = 4
    graspable = ("block",)
    manipulated = ("block",)
    receivers = tuple(f"target{number}" for number in range(1, 5))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The button lies at a random place, turned at random."""
        frames = scene.frames
        self.home = f"success{variation + 1}"
        self._done = LatchedConditions(3, ordered=self.options.strict_order)
        boundary = Boundary(frames, ["boundary"], scene.random)
        boundary.sample("push_buttons_target1", min_distance=0.05)
        spot = frames.pose(f"target{variation + 1}")[:2, 3]
        for name in ("block", "waypoint1", "waypoint10", "waypoint11"):
            pose = frames.pose(name)
            pose[:2, 3] = spot
            frames.move(name, pose)
        self._unpressed = scene.joint("target_button_joint1")
        return [
            "move the block on the color patch to the center, then press the button, and finally "
            "move the block back to where it was placed"
        ]

    def step(self, scene: Scene) -> None:
        """Latch: the block left its patch, was at the centre, the button was pressed.

        Quirk: in the published environment the order does not matter; with `strict_order` it does.
        """
        pressed = abs(scene.joint("target_button_joint1") - self._unpressed) > 0.003
        self._done.update(
            not scene.detects(self.home, "block"), scene.detects("success0", "block"), pressed
        )

    def success(self, scene: Scene) -> bool:
        """All three latched, and the block is on its patch again, released."""
        return self._done.all_met and scene.detects(self.home, "block") and scene.holds_nothing
