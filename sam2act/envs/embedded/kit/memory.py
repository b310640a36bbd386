"""What tasks that need memory share: a present that tells nothing of the past.

The right move after a first part depends on what came before. With `memory_strict` a scene looks
the same then whatever came before: traces that physics leaves are removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.placing import Boundary
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Task

BUTTON, BUTTON_JOINT = "push_buttons_target1", "target_button_joint1"
_PRESSED = 0.003  # metres
_NEARLY_SHUT, _SLOW = 0.02, 0.02  # metres, metres per second
_NEAR, _TURNED = 0.008, 0.1  # metres per axis, radians


class MemoryTask(Task):
    """Something, and something after it that depends on it."""

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Chance, then the variation."""
        self.lay_out(scene)
        return self.begin(scene, variation)

    def lay_out(self, scene: Scene) -> None:
        """Everything random, the same for all variations."""
        raise NotImplementedError

    def begin(self, scene: Scene, variation: int) -> list[str]:
        """Put things where a variation wants them at the start, nothing met yet; the
        instructions."""
        raise NotImplementedError

    def alike(self) -> Mapping[int, str]:
        """Waypoints, counted from 0, after which nothing present tells the variation, and what to
        call these moments."""
        raise NotImplementedError


class MemoryBenchTask(MemoryTask, PublishedTask):
    """A MemoryBench task: something, a press of the button, and something that depends on it.

    Class attributes:
        places: objects over whose origin the script puts blocks down.
    """

    places: ClassVar[tuple[str, ...]] = ()

    def lay_out(self, scene: Scene) -> None:
        """The button's place and turn."""
        Boundary(scene.frames, ["boundary"], scene.random).sample(BUTTON)

    def alike(self) -> Mapping[int, str]:
        """The two waypoints at the button."""
        objects, marks = self.facts.objects, range(self.facts.waypoints)
        at_the_button = [k for k in marks if objects[f"waypoint{k}"].parent == BUTTON]
        return dict(zip(at_the_button, ("over the button", "pressed"), strict=True))

    def released(self, scene: Scene, body: str) -> None:
        """Where a block was put down tells nothing of where it came from."""
        if self.options.memory_strict:
            standing = self.assembly.poses()[body][2, 3]  # the base never moves
            align_block(scene, body, standing, self.places)

    def is_pressed(self, scene: Scene) -> bool:
        """Whether the button is down now."""
        unpressed = self.facts.objects[BUTTON_JOINT].joint
        assert unpressed is not None
        return abs(scene.joint(BUTTON_JOINT) - unpressed.position) > _PRESSED


def move_over(scene: Scene, names: Iterable[str], place: str) -> None:
    """Put objects over or onto `place`; their heights and turns stay."""
    spot = scene.frames.pose(place)[:2, 3]
    for name in names:
        pose = scene.frames.pose(name)
        pose[:2, 3] = spot
        scene.frames.move(name, pose)


def shut_drawers(scene: Scene, joints: Iterable[str]) -> None:
    """Shut drawers that are nearly shut, slow and released: none shows that it was open."""
    if scene.robot.is_closed:
        return
    for name in joints:
        joint = scene.data.joint(name)
        if 0 < abs(joint.qpos[0]) < _NEARLY_SHUT and abs(joint.qvel[0]) < _SLOW:
            scene.set_joint(name, 0.0)


def align_block(scene: Scene, block: str, height: float, places: Iterable[str]) -> None:
    """Move a block that was put down next to one of `places` exactly onto it.

    Args:
        scene: with the block released.
        block: its name.
        height: of its origin where it stands on the table, metres.
        places: objects over whose origin blocks are put down.
    """
    pose = scene.frames.pose(block)
    turn = Rotation.from_matrix(pose[:3, :3]).magnitude()
    if turn > _TURNED or abs(pose[2, 3] - height) > _NEAR:
        return
    for place in places:
        spot = np.array([*scene.frames.pose(place)[:2, 3], height])
        if np.abs(pose[:2, 3] - spot[:2]).max() < _NEAR:
            aligned = np.eye(4)
            aligned[:3, 3] = spot
            scene.frames.move(block, aligned)
            return
