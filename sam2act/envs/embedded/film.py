"""Films of running episodes, from one fixed camera."""

from __future__ import annotations

import numpy as np

from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.sensors.camera import RayCamera

FILM_CAMERA, FILM_SIDE = "front", 240  # pixels; even, as video codecs want it


class Film:
    """Pictures of every N-th recorded frame; called once per frame."""

    def __init__(self, env: EpisodeRunner, every: int) -> None:
        self._env, self._every = env, every
        self._camera = RayCamera(env.model, FILM_SIDE)
        # With the poses and colours of the episode, perturbed or not.
        self._camera.specs, self._camera.shader = env.camera.specs, env.camera.shader
        self._count = 0
        self.frames: list[np.ndarray] = []

    def __call__(self) -> None:
        """Take a picture if it is time."""
        if self._count % self._every == 0:
            self.take()
        self._count += 1

    def take(self) -> None:
        """Take a picture (S, S, 3) uint8 now."""
        self.frames.append(self._camera.render(self._env.data, FILM_CAMERA).rgb)
