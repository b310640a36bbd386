"""A new task of the embedded simulator, solved by its scripted expert.

python examples/new_task.py
"""

from collections.abc import Iterator
from pathlib import Path

from sam2act.envs.base import EnvConfig, scripted
from sam2act.envs.embedded import tasks
from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.parts import BUTTON_PRESS_HEIGHT, button
from sam2act.envs.embedded.kit.scene import Area, Scene
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.registry import make_env


class NewTask(Task):  # named like this file
    variations, manipulated = 1, ("button_plate",)

    def fragment(self) -> Fragment:
        return Fragment(button("button"))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        scene.spawn("button", Area((0.25, 0.0), (0.10, 0.15)), yaw=(-0.5, 0.5))
        return ["press the button"]

    def success(self, scene: Scene) -> bool:
        return scene.joint("button_joint") > 0.001

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        x, y, _ = scene.position("button")
        for height, touch in ((0.87, False), (BUTTON_PRESS_HEIGHT, True)):
            yield go((x, y, height), down(scene.yaw("button"), 4), grip=True, collide=touch)


if __name__ == "__main__":
    tasks.__path__.append(str(Path(__file__).parent))  # or put this file into that folder
    demo = scripted(make_env(EnvConfig("new_task"))).get_demo(variation=0, seed=0, images="none")
    print(f"solved in {len(demo)} frames")
