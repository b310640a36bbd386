"""An environment of PushT; lengths in units of which the board has 512 per side, angles in radians.

A scene has the seed of its start state: evaluations number them one after the other from the seed
of the set on, as the runner of Diffusion Policy does (its test scenes begin at 100000, those of
training at 0).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from sam2act.core.frames import Frame
from sam2act.core.specs import EnvSpec
from sam2act.envs.base import EnvConfig, StepResult, check_action, check_control, options_of
from sam2act.envs.pusht import backend

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window is opened

FILM_SIDE = 256  # pixels
GOAL_MIDDLE, GOAL_REACH = 256.0, 100.0  # of targets that are not fixed


def start_state(seed: int) -> np.ndarray:
    """(5,) agent x y, block x y, angle, drawn as the published runner does."""
    random = np.random.RandomState(seed)
    places = [*random.randint(50, 450, 2), *random.randint(100, 400, 2)]
    return np.array([*places, random.randn() * 2 * np.pi - np.pi], float)


def goal_pose(seed: int) -> np.ndarray:
    """(3,) x, y, angle of a target that is not fixed."""
    random = np.random.default_rng([seed, 1])
    place = GOAL_MIDDLE + random.uniform(-GOAL_REACH, GOAL_REACH, 2)
    return np.array([*place, random.uniform(-np.pi, np.pi)])


class PushTEnv:
    """Rewards are graded: the largest share of the target that the block has covered so far in the
    episode, over 95 % of it and at most 1."""

    def __init__(self, config: EnvConfig) -> None:
        """Open the simulator."""
        from gym_pusht.envs.pusht import PushTEnv as Simulator

        side = config.image_size
        self._config, self._options = config, options_of(config, backend.Options)
        self._simulator: Any = Simulator(
            obs_type="pixels_agent_pos",
            observation_width=side,
            observation_height=side,
            visualization_width=FILM_SIDE,
            visualization_height=FILM_SIDE,
        )
        self._best = 0.0
        self._film: list[np.ndarray] | None = None
        self._every, self._steps = 1, 0

    @property
    def spec(self) -> EnvSpec:
        """One camera, the pose of agent and block, and where the agent is to go."""
        return backend.spec(self._config)

    def variation_count(self) -> int:
        """One."""
        return 1

    def seed_of(self, set_seed: int, episode: int) -> int:
        """The seed of a scene of a set; see `envs.base.NumbersScenes`."""
        return set_seed + episode

    def reset(self, variation: int, seed: int) -> tuple[list[str], Frame]:
        """Start an episode in the scene of a seed.

        Raises:
            ValueError: there is no such variation or seed.
        """
        if variation != 0 or not 0 <= seed < 2**32:
            raise ValueError(f"pusht: no variation {variation} or seed {seed}")
        # As published: the block is turned after it was placed, which moves it.
        self._simulator.reset(seed=seed, options={"reset_to_state": start_state(seed)})
        if not self._options.fix_goal:
            self._simulator.goal_pose = goal_pose(seed)
        return self._begin()

    def restore(self, state: Sequence[float] | np.ndarray) -> tuple[list[str], Frame]:
        """Start an episode in a recorded state (5,): the block is turned before it is placed."""
        values = np.asarray(state, float).tolist()
        simulator = self._simulator
        simulator.reset(options={"reset_to_state": values})
        simulator.agent.velocity = simulator.block.velocity = (0.0, 0.0)
        simulator.block.angular_velocity = 0.0
        simulator.agent.position = values[:2]
        simulator.block.angle = values[4]
        simulator.block.position = values[2:4]
        simulator.space.step(simulator.dt)
        return self._begin()

    def step(self, action: np.ndarray, control: str) -> StepResult:
        """Move the agent towards a place for 0.1 s."""
        wanted = check_control(control, {backend.ACTION.mode: backend.ACTION}, "pusht")
        values = np.clip(check_action(action, wanted), 0, 512)
        _, reward, terminal, _, info = self._simulator.step(values)
        self._best = max(self._best, float(reward))
        self._steps += 1
        if self._film is not None and self._steps % self._every == 0:
            self._film.append(self._simulator.render())
        return StepResult(
            self._frame(), self._best, bool(terminal), {"coverage": float(info["coverage"])}
        )

    def close(self) -> None:
        """Free the simulator."""
        self._simulator.close()

    def start_film(self, every: int) -> None:
        """Film the running episode, every `every`-th frame of 0.05 s."""
        self._film, self._every = [self._simulator.render()], max(every // 2, 1)

    def stop_film(self) -> list[np.ndarray]:
        """The pictures (H, W, 3) uint8 taken since."""
        film, self._film = self._film or [], None
        return film

    def _begin(self) -> tuple[list[str], Frame]:
        self._best, self._steps, self._film = 0.0, 0, None
        return [backend.INSTRUCTION], self._frame()

    def _frame(self) -> Frame:
        simulator = self._simulator
        agent = np.array(simulator.agent.position, float)
        angle = simulator.block.angle % (2 * np.pi)
        state = np.array([*agent, *simulator.block.position, angle], float)
        picture = np.ascontiguousarray(simulator.get_obs()["pixels"])
        return Frame(rgb={backend.CAMERA: picture}, state={"agent_pos": agent, "state": state})
