"""Recording of scripted demonstrations."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from sam2act.data.rlbench.keyframes import frames_with_images
from sam2act.data.rlbench.types import Demo, RecordedObservation
from sam2act.envs.base import IMAGE_POLICIES, InvalidActionError, NoWaypointsError, ScriptError
from sam2act.envs.embedded.episode import EpisodeRunner

_PATIENCE = 10  # frames after the script within which the task may still become solved


class _Snapshot(NamedTuple):
    """What an image of a past frame needs."""

    positions: np.ndarray  # qpos
    colors: np.ndarray  # geom_rgba


class _Recorder:
    """Collects low-dimensional observations; images are rendered afterwards, where wanted."""

    def __init__(self, env: EpisodeRunner) -> None:
        self._env = env
        self.observations: list[RecordedObservation] = []
        self._snapshots: list[_Snapshot] = []

    def __call__(self) -> None:
        env = self._env
        self.observations.append(env.low_dimensional())
        colors = env.model.geom_rgba
        if self._snapshots and np.array_equal(colors, self._snapshots[-1].colors):
            colors = self._snapshots[-1].colors
        else:
            colors = colors.copy()
        self._snapshots.append(_Snapshot(env.data.qpos.copy(), colors))

    def render(self, frames: list[int]) -> None:
        """Fill in the images of `frames` for the cameras of the environment."""
        env = self._env
        present, scratch = env.model.geom_rgba.copy(), mujoco.MjData(env.model)
        for frame in frames:
            scratch.qpos[:] = self._snapshots[frame].positions
            env.model.geom_rgba[:] = self._snapshots[frame].colors
            mujoco.mj_kinematics(env.model, scratch)
            for camera in env.config.cameras:
                env.observer.add_image(self.observations[frame], scratch, camera)
        env.model.geom_rgba[:] = present


def record_demo(env: EpisodeRunner, variation: int, seed: int, images: str) -> Demo:
    """Run the script of the task once and record a frame every 0.05 s.

    Args:
        env: the environment; its episode is replaced.
        variation: number of the variation.
        seed: seed of the episode.
        images: "all" frames, "keyframes" (frame 0, every tenth, the keyframes) or "none".

    Returns:
        the demo, `random_seed` an integer; images are None where they were not asked for.

    Raises:
        ScriptError: the script failed; the message says how.
        NoWaypointsError: the task has no script.
    """
    if images not in IMAGE_POLICIES:
        raise ValueError(f"images: {images!r} is none of {', '.join(IMAGE_POLICIES)}")
    env.begin_episode(variation, seed)
    recorder = _Recorder(env)
    env.on_frame = recorder
    try:
        _run_script(env, recorder)
    finally:
        env.on_frame = None
    recorder.render(frames_with_images(recorder.observations, images))
    return Demo(recorder.observations, seed, variation)


def _run_script(env: EpisodeRunner, recorder: _Recorder) -> None:
    number = -1
    for number, waypoint in enumerate(env.task.waypoints(env.scene)):
        if number == 0:  # the first frame belongs to the motion that follows
            env.announce(waypoint.ignore_collisions)
            recorder()
        try:
            env.execute(waypoint.action, stop_on_success=False, opening=waypoint.opening)
        except InvalidActionError as error:
            raise ScriptError(f"waypoint {number} cannot be reached: {error}") from error
    if number < 0:
        raise NoWaypointsError(f"{env.task_name}: the script has no waypoints")
    if not env.wait_for_success(_PATIENCE):
        raise ScriptError("the script ran through, but the task is not solved")
