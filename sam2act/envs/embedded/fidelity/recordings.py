"""Compares the embedded open_drawer with demonstrations that were recorded in RLBench.

Base, joints of the arm, fingers and drawers are put where a recorded frame had them. RLBench draws
with OpenGL, which asks for the middle of a pixel, and moves what it draws away from the camera by
half of the steepest change of its depth from pixel to pixel (`glPolygonOffset(0.5, 0)`). The
comparison does the same to the rendered depth; without it, steep faces seem up to 2 cm off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from sam2act.data.rlbench.demo_images import read_images
from sam2act.data.rlbench.demos import Episode, camera_arrays, episode_keyframes
from sam2act.data.rlbench.types import RecordedObservation
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.fidelity.compiled import pose_difference
from sam2act.envs.embedded.kit.facts import pose_matrix
from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.parts import DRAWERS
from sam2act.envs.embedded.kit.workspace import model_text
from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.sensors.camera import Image, RayCamera

TASK = "open_drawer"
CAMERAS = ("front", "left_shoulder", "right_shoulder", "overhead")
SIDE = 128
DEPTH_TOLERANCE = 0.01  # metres
_AWAY = (0.0, 0.0, -50.0)  # where nothing sees the robot
_WORKSPACE = np.array([(-0.5, -0.55, 0.755), (1.0, 0.55, 2.0)])  # metres; robot and chest are there
_FIRST = "drawer_frame"  # the object with which recorded states begin


@dataclass
class DepthView:
    """One camera in one recorded frame.

    Attributes:
        camera: its name.
        rendered: (H, W, 3) uint8.
        recorded: (H, W, 3) uint8.
        error: (H, W) recorded less rendered depth, metres.
        ours: (H, W) whether we see robot or chest.
        theirs: (H, W) whether the recording sees anything before table and room.
        robot: (H, W) whether we see the robot.
    """

    camera: str
    rendered: np.ndarray
    recorded: np.ndarray
    error: np.ndarray
    ours: np.ndarray
    theirs: np.ndarray
    robot: np.ndarray

    @property
    def both(self) -> np.ndarray:
        """(H, W) where both see robot or chest."""
        return self.ours & self.theirs

    @property
    def agrees(self) -> np.ndarray:
        """(H, W) where the recorded depth is within the tolerance."""
        return np.abs(self.error) < DEPTH_TOLERANCE


@dataclass(frozen=True)
class StateErrors:
    """How far the scene is from the recorded state, at most.

    Attributes:
        place, turn, joint: metres, radians, metres, of all objects of the first frame.
        handles: metres, of the marks at the handles.
        waypoints: metres by waypoint, between it and the recorded tip where that came nearest; the
            first two at their keyframes.
    """

    place: float
    turn: float
    joint: float
    handles: float
    waypoints: Mapping[str, float]


class RecordedScene:
    """The embedded open_drawer, put where recorded frames had it."""

    def __init__(self) -> None:
        self._runner = EpisodeRunner(EnvConfig(TASK, cameras=()))
        self.model, self.data = self._runner.model, self._runner.data
        self.frames = self._runner.scene.frames
        self.camera = RayCamera(self.model, SIDE, sample=0.5)
        bodies = [self.model.body(number).name for number in self.model.geom_bodyid]
        self._is_robot = np.array([name in panda.ROBOT_BODIES for name in bodies] + [False])
        self._is_chest = np.array([name in self.frames.facts.objects for name in bodies] + [False])
        self._room = _empty_room()

    def set_frame(self, observation: RecordedObservation) -> None:
        """Put base, arm, fingers and drawers where a recorded frame had them."""
        frames, state = self.frames, _recorded(observation)
        self._runner.restore()
        poses, joints = self._parsed(state)
        loaded = np.linalg.inv(frames.pose(_FIRST)) @ frames.pose(frames.facts.root)
        frames.move(frames.facts.root, poses[_FIRST] @ loaded)
        for name, position in joints.items():
            self._runner.scene.set_joint(name, position)
        angles = getattr(observation, "joint_positions")  # noqa: B009 (recorded, not declared)
        self.data.qpos[:7] = panda.from_rlbench_joints(angles)
        fingers = np.clip(observation.gripper_joint_positions, 0, panda.FINGER_TRAVEL)
        self.data.qpos[7:9] = fingers
        mujoco.mj_kinematics(self.model, self.data)

    def _parsed(self, state: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Poses (4, 4) of all objects but the base and positions of joints of a recorded state."""
        poses, joints, first = {}, {}, 0
        for name in self.frames.facts.by_level()[1:]:
            poses[name] = pose_matrix(state[first : first + 7].tolist())
            first += 7
            if self.frames.facts.objects[name].joint is not None:
                joints[name] = float(state[first])
                first += 1
        return poses, joints

    def state_errors(self, episode: Episode) -> StateErrors:
        """Compare the state of the first frame, and the waypoints with the recorded tip."""
        first = episode.demo[0]
        self.set_frame(first)
        self._runner.task.init_episode(self._runner.scene, episode.variation_number)
        poses, joints = self._parsed(_recorded(first))
        own_poses, own_joints = self._parsed(self.frames.state())
        apart = {name: pose_difference(pose, own_poses[name]) for name, pose in poses.items()}
        handles = [apart[f"waypoint_anchor_{place}"][0] for place in DRAWERS]
        return StateErrors(
            max(far for far, _ in apart.values()),
            max(turn for _, turn in apart.values()),
            max(abs(joints[name] - own_joints[name]) for name in joints),
            max(handles),
            self._waypoint_errors(episode),
        )

    def _waypoint_errors(self, episode: Episode) -> dict[str, float]:
        frames, keyframes = self.frames, episode_keyframes(episode)
        tips = np.array([observation.gripper_pose[:3] for observation in episode.demo])
        stops = {"waypoint0": [keyframes[0]], "waypoint1": [keyframes[1]],
                 "waypoint2": range(keyframes[1], len(tips))}  # fmt: skip
        return {
            name: float(np.linalg.norm(tips[list(at)] - frames.pose(name)[:3, 3], axis=1).min())
            for name, at in stops.items()
        }

    def views(self, episode: Episode, every: int) -> Iterator[DepthView]:
        """Every recorded fixed camera of every `every`-th frame."""
        cameras = [name for name in CAMERAS if (episode.folder / f"{name}_depth").is_dir()]
        numbers = list(range(0, len(episode.demo), every))
        images = read_images(episode.folder, numbers, cameras, SIDE)
        limits = camera_arrays(episode, numbers, cameras).depth_range
        for row, number in enumerate(numbers):
            self.set_frame(episode.demo[number])
            for column, camera in enumerate(cameras):
                color, depth = images[row, :, column]
                metres = _decoded(depth, limits[row, column])
                yield self._view(camera, color, metres)

    def _view(self, camera: str, color: np.ndarray, depth: np.ndarray) -> DepthView:
        image = self.camera.render(self.data, camera)
        drawn = drawn_depth(self.camera, camera, image)
        points = self.camera.point_cloud(self.data, camera, depth)
        robot, chest = self._is_robot[image.geom], self._is_chest[image.geom]
        theirs = (depth < self._room[camera] - DEPTH_TOLERANCE) & _in_workspace(points)
        return DepthView(camera, image.rgb, color, depth - drawn, robot | chest, theirs, robot)


def _in_workspace(points: np.ndarray) -> np.ndarray:
    return np.asarray(((points > _WORKSPACE[0]) & (points < _WORKSPACE[1])).all(axis=-1))


def drawn_depth(camera: RayCamera, name: str, image: Image) -> np.ndarray:
    """(H, W) depth as OpenGL draws what `camera` sees, with a polygon offset of half a slope.

    On a plane 1 / depth is linear in the pixel: with normal n and ray r it is n.r / (n.point).
    """
    spec = camera.specs[name]
    rays = camera.rays(spec).reshape(*image.depth.shape, 3)
    focal = abs(spec.intrinsics(SIDE)[0, 0])
    distance = image.depth * np.sum(image.normal * rays, axis=-1)  # of the plane
    steepest = np.abs(image.normal[..., 1:]).max(axis=-1)
    slope = steepest / np.maximum(np.abs(distance), 1e-6) / focal
    return 1 / np.maximum(1 / image.depth - slope / 2, 1e-3)


def _empty_room() -> dict[str, np.ndarray]:
    """(H, W) depth of table and room by camera, without robot and scene."""
    model = mujoco.MjModel.from_xml_string(model_text(Fragment("")))
    model.body("panda_base").pos[:] = _AWAY
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    camera = RayCamera(model, SIDE, sample=0.5)
    images = {name: camera.render(data, name) for name in CAMERAS}
    return {name: drawn_depth(camera, name, image) for name, image in images.items()}


def _recorded(observation: RecordedObservation) -> np.ndarray:
    state = getattr(observation, "task_low_dim_state")  # noqa: B009 (recorded, not declared)
    return np.asarray(state, float)


def _decoded(depth: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(H, W) metres of a stored depth image (H, W, 3), which counts from near to far."""
    counts = depth.astype(float) @ np.array([65536.0, 256.0, 1.0]) / (2**24 - 1)
    near, far = limits
    return np.asarray(near + counts * (far - near))


@dataclass
class Figures:
    """What the comparison of some recorded episodes gave.

    Attributes:
        states: one per episode.
        pixels: camera -> pixels of [both see, of these within 1 cm, robot, of these within 1 cm,
            either sees].
        frames: number of compared frames.
    """

    states: list[StateErrors]
    pixels: dict[str, np.ndarray]
    frames: int = 0

    def share(self, camera: str) -> float:
        """Of the pixels where both see robot or chest, those within 1 cm."""
        both, near, *_ = self.pixels[camera]
        return float(near / max(both, 1))

    def robot_share(self, camera: str) -> float:
        """The same of the robot alone."""
        _, _, robot, near, _ = self.pixels[camera]
        return float(near / max(robot, 1))

    def overlap(self, camera: str) -> float:
        """Pixels where both see robot or chest, of those where either does."""
        return float(self.pixels[camera][0] / max(self.pixels[camera][4], 1))

    def worst(self, name: str) -> float:
        """The greatest `place`, `turn`, `joint` or `handles` of all episodes."""
        return max(float(getattr(state, name)) for state in self.states)

    def as_json(self) -> dict[str, object]:
        """All figures in metres, radians and shares."""
        return {
            "depth_within_1cm": {camera: self.share(camera) for camera in self.pixels},
            "robot_within_1cm": {camera: self.robot_share(camera) for camera in self.pixels},
            "overlap": {camera: self.overlap(camera) for camera in self.pixels},
            **{name: self.worst(name) for name in ("place", "turn", "joint", "handles")},
            "waypoints": [dict(state.waypoints) for state in self.states],
            "frames": self.frames,
        }


def compare_recordings(
    episodes: Sequence[Episode], every: int
) -> tuple[Figures, list[list[DepthView]]]:
    """Compare recorded episodes of open_drawer.

    Returns:
        the figures, and of each episode the views of a frame in its middle.
    """
    scene, shown = RecordedScene(), []
    figures = Figures([], {})
    for episode in episodes:
        figures.states.append(scene.state_errors(episode))
        views = list(scene.views(episode, every))
        for view in views:
            counts = figures.pixels.setdefault(view.camera, np.zeros(5))
            near, robot = view.both & view.agrees, view.both & view.robot
            either = view.ours | view.theirs
            masks = (view.both, near, robot, robot & near, either)
            counts += [mask.sum() for mask in masks]
        cameras = len(figures.pixels)
        middle = cameras * (len(views) // cameras // 2)
        shown.append(views[middle : middle + cameras])
        figures.frames += len(views) // cameras
    return figures, shown
