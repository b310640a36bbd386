"""Train the tiny network on demonstrations of one's own; random pictures stand for them here."""

import numpy as np

from sam2act.cli.train import main
from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.registry import SOURCES
from sam2act.core.specs import FINGER_JOINTS, GRIPPER_OPEN, EnvSpec, square_cameras
from sam2act.core.types import Frame
from sam2act.data.source import EpisodeFacts, SourceRequest

POSES = np.tile([0.2, 0.0, 1.0, 1, 0, 0, 0], (12, 1))  # of the gripper: metres, quaternion xyzw
STATES = {"gripper_pose": POSES, "finger_joints": np.full((12, 2), 0.04)}
STATES |= {"gripper_open": np.ones((12, 1)), "ignore_collisions": np.zeros((12, 1))}
INTRINSICS = np.array([[150.0, 0, 64], [0, 150, 64], [0, 0, 1]])
EXTRINSICS = np.array([[0, -1, 0, 0.2], [-1, 0, 0, 0], [0, 0, -1, 2.0], [0, 0, 0, 1]])


class OwnDemos:  # docs/extending.md explains every method
    def __init__(self, request: SourceRequest) -> None:
        self.size, self.rate = (request.image_size, request.image_size), 20.0
        cameras = square_cameras(request.cameras, request.image_size, depth=True)
        self.spec = EnvSpec(cameras, (GRIPPER_OPEN, FINGER_JOINTS), (KEYFRAME_POSE,))
        self.episodes, self.actions = lambda: range(4), lambda number: None
        self.facts = lambda number: EpisodeFacts(length=12, keyframes=(5, 11))
        self.instruction, self.states = lambda number: "put the cup away", lambda number: STATES
        self.fingerprint = lambda number, frames: str(number)  # changes when the files do

    def frame(self, number: int, index: int) -> Frame:
        depth = 1.1 - 0.2 * np.random.default_rng((number, index)).random(self.size)  # metres
        images = (np.full((*self.size, 3), 200, np.uint8), depth, INTRINSICS, EXTRINSICS)
        rgb, *geometry = ({camera.name: x for camera in self.spec.camera_specs} for x in images)
        return Frame(rgb, {}, *geometry)


if __name__ == "__main__":
    SOURCES.add("own_demos", "train_on_own_demos:OwnDemos")
    options = "source own_demos tasks put_cup_away demo 4 bs 2 epochs 1 train_iter 4"
    files = ["--exp_cfg_path", "configs/tiny.yaml", "--mvt_cfg_path", "configs/mvt/tiny.yaml"]
    raise SystemExit(main([*files, "--device", "cpu", "--exp_cfg_opts", options]))
