"""One task of dm_control as an `Env`: pictures in, actions in [-1, 1] out.

Legend: S pixels per side, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sam2act.core.specs import EnvSpec
from sam2act.core.types import Frame
from sam2act.envs.base import EnvConfig, StepResult, check_action, check_control, options_of
from sam2act.envs.dmc.levels import FLOOR, ROBOT, SKY, Changes, Films, changed, sample_changes
from sam2act.envs.dmc.options import Options
from sam2act.envs.dmc.tasks import CAMERA, TASKS
from sam2act.envs.video import read_square_video

INSIDE = 1e-9  # rounding beyond the range that is cut off
GEOM = 5  # mujoco.mjtObj.mjOBJ_GEOM, the kind of object that a segmentation names


class DMControlEnv:
    """An `Env` around dm_control's suite; every action lasts several frames."""

    def __init__(
        self, config: EnvConfig, spec: EnvSpec, load: Callable[[str, str, int], Any]
    ) -> None:
        """Open a task.

        Args:
            config: task, size of the pictures, whether masks are wanted.
            spec: of what it gives and takes.
            load: (domain, task, seed) -> an environment of dm_control.
        """
        self.config, self.spec = config, spec
        self.options = options_of(config, Options)
        self._task, self._load = TASKS[config.task], load
        self._films = Films(self.options.videos, read_square_video)
        self._changes = Changes({}, None, False)
        self._env: Any = None
        self._pictures = 0

    def variation_count(self) -> int:
        """There is one."""
        return 1

    def reset(self, variation: int, seed: int) -> tuple[list[str], Frame]:
        """Start an episode; what it looks like is a function of the seed."""
        random = np.random.default_rng(seed)
        self._changes = sample_changes(
            self.options.level, self.config.image_size, random, self._films
        )
        if self._env is None:  # loading makes a renderer, which takes seconds
            self._env = self._load(self._task.domain, self._task.name, seed)
        self._env.task.random.seed(seed)
        self._pictures = 0
        self._env.reset()
        return [self.config.task.replace("_", " ")], self._look()

    def step(self, action: np.ndarray, control: str) -> StepResult:
        """Repeat an action; the sum of its rewards.

        `info["discount"]` is 0 where the episode ended for good, 1 at the limit of time.

        Raises:
            ConfigError: another control mode.
            InvalidActionError: the action has the wrong form.
        """
        (spec,) = self.spec.actions
        check_control(control, {spec.mode: spec}, self.config.backend)
        scaled = self._scaled(np.clip(check_action(action, spec), -1 + INSIDE, 1 - INSIDE))
        reward, discount, last = 0.0, 1.0, False
        for _ in range(self.options.action_repeat):
            moment = self._env.step(scaled)
            reward += (moment.reward or 0.0) * discount
            discount *= 1.0 if moment.discount is None else moment.discount
            last = bool(moment.last())
            if last:
                break
        info = {"success": False, "error": None, "error_type": None, "discount": discount}
        return StepResult(self._look(), float(reward), last, info)

    def close(self) -> None:
        """Free the simulator."""
        if self._env is not None:
            self._env.close()

    def _scaled(self, action: np.ndarray) -> np.ndarray:
        """From [-1, 1] to the range of the task."""
        form = self._env.action_spec()
        scaled: np.ndarray = form.minimum + (action + 1) / 2 * (form.maximum - form.minimum)
        return scaled

    def _look(self) -> Frame:
        rgb = self._render()
        mask = {}
        if self.config.masks or self.options.level != "original":
            geoms = self._geoms()
            shows = self._shows(geoms)
            rgb = changed(rgb, shows, self._changes, self._pictures)
            if self.config.masks:
                mask = {CAMERA: np.where(shows == ROBOT, geoms + 1, 0)}
        self._pictures += 1
        return Frame(rgb={CAMERA: rgb}, state={}, mask=mask)

    def _render(self, **options: Any) -> np.ndarray:
        side = self.config.image_size
        picture: np.ndarray = self._env.physics.render(
            height=side, width=side, camera_id=self._task.camera, **options
        )
        return picture

    def _geoms(self) -> np.ndarray:
        """(S, S) number of the shape at each pixel; -1 = none."""
        objects = self._render(segmentation=True)
        return np.where(objects[..., 1] == GEOM, objects[..., 0], -1)

    def _shows(self, geoms: np.ndarray) -> np.ndarray:
        """(S, S) SKY, FLOOR (whatever belongs to the world) or ROBOT."""
        bodies = np.asarray(self._env.physics.model.geom_bodyid)
        of_world = np.where(geoms < 0, 0, bodies[geoms]) == 0
        return np.where(geoms < 0, SKY, np.where(of_world, FLOOR, ROBOT))
