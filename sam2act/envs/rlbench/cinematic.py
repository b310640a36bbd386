"""The camera from the side with which the published evaluation films RLBench episodes."""

from __future__ import annotations

import math

import numpy as np

FILM_SIZE = (320, 180)  # width, height in pixels
_BASE, _PLACE = "cam_cinematic_base", "cam_cinematic_placeholder"
_TURN = 0.75 * math.pi  # of the base about the vertical axis


class CinematicCamera:
    """A vision sensor in the running scene; it renders on request only."""

    def __init__(self) -> None:
        from pyrep.objects.dummy import Dummy
        from pyrep.objects.vision_sensor import VisionSensor

        Dummy(_BASE).rotate([0.0, 0.0, _TURN])  # carries the placeholder along
        place = Dummy(_PLACE)
        self._sensor = VisionSensor.create(list(FILM_SIZE), explicit_handling=True)
        self._sensor.set_pose(place.get_pose())
        self._sensor.set_parent(place)

    def picture(self) -> np.ndarray:
        """(180, 320, 3) uint8 of the present moment."""
        self._sensor.handle_explicitly()
        return (np.clip(self._sensor.capture_rgb(), 0.0, 1.0) * 255).astype(np.uint8)


class Film:
    """Pictures of every `every`-th simulation step."""

    def __init__(self, camera: CinematicCamera, every: int) -> None:
        self._camera, self._every = camera, every
        self._steps = 0
        self._frames: list[np.ndarray] = []

    def step(self) -> None:
        """Note that a simulation step has passed."""
        if self._steps % self._every == 0:
            self._frames.append(self._camera.picture())
        self._steps += 1

    def finish(self) -> list[np.ndarray]:
        """All pictures, the last one of the present moment."""
        return [*self._frames, self._camera.picture()]
