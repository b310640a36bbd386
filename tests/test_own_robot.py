"""docs/own_robot.md, executed: the embedded simulator poses as somebody's robot."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2act.cli.check_recording import camera_view
from sam2act.cli.main import main
from sam2act.data.crops import cropped
from sam2act.data.lerobot.reader import LeRobotReader
from sam2act.data.lerobot.writer import LeRobotWriter
from sam2act.data.recorder import EpisodeRecorder
from sam2act.data.rlbench.demo_crops import centred_grid
from sam2act.data.source import SourceError
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import make_env
from sam2act.geometry.cameras import unproject
from sam2act.reports.recording_page import pixels_of
from tests.doc_pages import text_of
from tests.places import REPOSITORY
from tests.training.tiny_run import NETWORK_OPTS

for package in ("mujoco", "pyarrow", "av"):
    pytest.importorskip(package, reason=f"the walk needs {package}")

WIDTH, HEIGHT = 40, 30  # a camera of 640 x 480 in small
NOISE = 0.001  # metres of depth
TASK = "turn_on_lamp"
CAMERA = "left_shoulder"  # stands elsewhere than the camera `front` of the published tasks


@dataclass
class Moment:
    """What the robot reports."""

    rgb: np.ndarray
    depth: np.ndarray
    gripper_pose: np.ndarray
    width: float
    joints: np.ndarray
    instruction: str = "turn on the lamp"


class Robot:
    """Demonstrations of the simulator as a robot with a 4:3 camera and a gripper that reports its
    width would record them."""

    def __init__(self, demos) -> None:
        self.demos = demos
        self.random = np.random.default_rng(0)
        misc = demos[0][0].misc
        self.extrinsics = misc[f"{CAMERA}_camera_extrinsics"]
        self.intrinsics = misc[f"{CAMERA}_camera_intrinsics"].copy()
        self.intrinsics[1, 2] -= (WIDTH - HEIGHT) / 2
        self.moves = []

    def demonstrate(self, episode: int):
        return map(self._moment, self.demos[episode])

    def look(self) -> Moment:
        return self._moment(self.demos[0][0])

    def move(self, position, quaternion, opened) -> None:
        self.moves.append((position, quaternion, opened))

    def points(self, episode: int, frame: int) -> np.ndarray:
        """(S, S, 3) of the whole picture, without noise."""
        seen = self.demos[episode][frame]
        matrix = seen.misc[f"{CAMERA}_camera_intrinsics"]
        depth = torch.from_numpy(getattr(seen, f"{CAMERA}_depth").astype(np.float64))
        return unproject(depth, torch.from_numpy(matrix), torch.from_numpy(self.extrinsics)).numpy()

    def _moment(self, frame) -> Moment:
        rows = slice((WIDTH - HEIGHT) // 2, (WIDTH + HEIGHT) // 2)
        depth = getattr(frame, f"{CAMERA}_depth")[rows].astype(np.float64)
        depth += self.random.normal(0, NOISE, depth.shape)
        depth[0, :3] = np.nan  # where this camera sees nothing
        width = 2 * float(frame.gripper_joint_positions.min())
        rgb = getattr(frame, f"{CAMERA}_rgb")[rows].copy()
        return Moment(rgb, depth, frame.gripper_pose, width, frame.joint_positions)


@pytest.fixture(scope="module")
def robot() -> Robot:
    config = EnvConfig(TASK, cameras=(CAMERA,), image_size=WIDTH)
    env = make_env(config)
    try:
        return Robot([env.get_demo(0, seed, "all") for seed in (0, 1)])
    finally:
        env.close()


def test_the_walk_ends_with_safe_commands(
    robot: Robot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block of the page, in its order, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    page = text_of(REPOSITORY / "docs" / "own_robot.md")
    names: dict[str, Any] = {"connect": lambda: robot}
    for language, block in re.findall(r"```(python|bash)\n(.*?)```", page, re.DOTALL):
        if language == "python":
            exec(block, names)
            continue
        _, command, *arguments = shlex.split(block)
        more = [f"--mvt_cfg_opts={NETWORK_OPTS}"] if command == "train" else []
        arguments = [str(REPOSITORY / a) if a.startswith("configs/") else a for a in arguments]
        assert main([command, *arguments, *more]) == 0, command

    check = (tmp_path / "check.html").read_text()
    keyframes = re.search(r"(\d+) keyframes: ", check)
    assert keyframes and int(keyframes[1]) >= 1 and check.count("<img") == 4
    assert len(robot.moves) == 2
    box = names["limits"].box
    for position, quaternion, _ in robot.moves:
        assert (position >= np.array(box[:3]) - 1e-6).all()
        assert (position <= np.array(box[3:]) + 1e-6).all()
        assert np.linalg.norm(quaternion) == pytest.approx(1, abs=1e-4)


def test_points_of_the_recording_are_those_of_the_simulator(robot: Robot, tmp_path: Path) -> None:
    """Depth with its noise, the cropped camera matrix and the gripper agree in the world."""
    writer = LeRobotWriter(tmp_path, 20)
    matrices = {
        "intrinsics": {"front": robot.intrinsics},
        "extrinsics": {"front": robot.extrinsics},
    }
    recorder = EpisodeRecorder(writer, rate=20, **matrices)
    moments = list(robot.demonstrate(0))[:3]
    for moment in moments:
        state = {
            "gripper_pose": moment.gripper_pose,
            "gripper_open": moment.width,
            "joint_positions": moment.joints,
        }
        recorder.add({"front": moment.rgb}, {"front": moment.depth}, state)
    assert recorder.save(moments[0].instruction) == 3
    writer.finish()
    episode = LeRobotReader(tmp_path).read(0)
    view = camera_view(cropped(episode, 10), "front", 1)
    assert view.points.shape == (10, 10, 3)
    wanted = robot.points(0, 1)[(WIDTH - HEIGHT) // 2 :][:HEIGHT]
    wanted = centred_grid(WIDTH, HEIGHT, 10).pixels(wanted)
    seen = np.isfinite(view.points).all(-1)
    assert seen.mean() > 0.8
    assert np.linalg.norm(view.points - wanted, axis=-1)[seen].max() < 8 * NOISE
    rows, columns = np.nonzero(seen)
    assert np.allclose(pixels_of(view.points[seen], view), np.stack([columns, rows], 1), atol=0.01)


def test_what_cannot_be_recorded_is_named(robot: Robot, tmp_path: Path) -> None:
    matrices = {
        "intrinsics": {"front": robot.intrinsics},
        "extrinsics": {"front": robot.extrinsics},
    }
    recorder = EpisodeRecorder(LeRobotWriter(tmp_path, 20), rate=20, **matrices)
    moment = robot.look()
    with pytest.raises(SourceError, match="cameras: rgb of .'top'."):
        recorder.add({"top": moment.rgb}, {"top": moment.depth}, {})
    with pytest.raises(SourceError, match="camera front: rgb is float64"):
        recorder.add({"front": moment.rgb / 255}, {"front": moment.depth}, {})
    with pytest.raises(SourceError, match="state: has no gripper_pose"):
        EpisodeRecorder(LeRobotWriter(tmp_path, 20), rate=20, **matrices).add(
            {"front": moment.rgb}, {"front": moment.depth}, {}
        )
    with pytest.raises(SourceError, match="an episode of 0 frames"):
        EpisodeRecorder(LeRobotWriter(tmp_path, 20), rate=20, **matrices).save("go")
