"""The loop of a policy that learns by acting: act, remember, learn, evaluate, save.

An action is repeated by the environment; frames count these repetitions, as published figures do.
Legend: S pixels per side, A numbers of an action.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sam2act.core.files import append_line
from sam2act.core.run_folder import RunFolder
from sam2act.policies.checkpoint import PolicyBundle, config_extra, save_checkpoint
from sam2act.policies.online import OnlinePolicy
from sam2act.training.online.episodes import (
    Episodes,
    FrameStack,
    episode_returns,
    picture,
)
from sam2act.training.online.replay import ReplayBuffer

LOGGER = logging.getLogger(__name__)
EVALUATION_SEED = 1_000_000  # of the first episode of an evaluation


@dataclass(frozen=True)
class OnlineOptions:
    """How long and how often; defaults are DrQ-v2's.

    Attributes:
        frames: of the whole run.
        action_repeat: frames per action.
        seed_frames: before the first update.
        explore_frames: with uniformly random actions.
        batch: samples per update.
        update_every: actions per update.
        nstep: steps of a sample.
        discount: per step.
        capacity: moments that are kept.
        evaluate_every: frames between two evaluations; 0 = none.
        episodes: of an evaluation.
        seed: of everything random.
    """

    frames: int = 1_100_000
    action_repeat: int = 2
    seed_frames: int = 4000
    explore_frames: int = 4000
    batch: int = 256
    update_every: int = 2
    nstep: int = 3
    discount: float = 0.99
    capacity: int = 100_000
    evaluate_every: int = 20_000
    episodes: int = 10
    seed: int = 0


class OnlineTrainer:
    """One run of an online policy in one environment."""

    def __init__(
        self,
        bundle: PolicyBundle,
        env: Episodes,
        evaluation_env: Episodes,
        options: OnlineOptions,
        files: RunFolder,
    ) -> None:
        """The policy must be on its device already.

        Args:
            bundle: policy, configs, transforms (fitted).
            env: where it learns.
            evaluation_env: where it is evaluated meanwhile; may be `env`.
            options: how long and how often.
            files: the run folder.
        """
        assert isinstance(bundle.policy, OnlinePolicy)
        self.policy, self.bundle, self.options, self.files = bundle.policy, bundle, options, files
        self._env, self._evaluation_env = env, evaluation_env
        self._spec = bundle.policy.spec
        self._device = next(self.policy.parameters()).device
        self._stack = FrameStack(len(self._spec.offsets))
        self.replay = ReplayBuffer(
            files.folder / "replay",
            options.capacity,
            self._spec.image_size,
            self._spec.action.size,
            len(self._spec.offsets),
        )
        self.step, self.episode, self.updates = 0, 0, 0
        self._random = np.random.default_rng([options.seed, 0])
        self._generator = torch.Generator().manual_seed(options.seed)
        self._seconds = {"acting": 0.0, "learning": 0.0}

    @property
    def frame(self) -> int:
        """Frames so far."""
        return self.step * self.options.action_repeat

    def resume(self, extra: dict[str, Any]) -> None:
        """Go on where a checkpoint with this `extra` was saved; a new episode begins."""
        online = extra["online"]
        self.step, self.episode, self.updates = (
            online[name] for name in ("step", "episode", "updates")
        )
        self.policy.load_optimizer_state(online["optimizers"])
        self._generator.set_state(online["generator"])
        self._random = np.random.default_rng([self.options.seed, self.step])

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the last frame; False if it was stopped, with its state saved."""
        while self.frame < self.options.frames and not should_stop():
            self._run_episode(should_stop)
        self.save()
        return self.frame >= self.options.frames

    def _run_episode(self, should_stop: Callable[[], bool]) -> None:
        """One episode of training; learns while it acts, evaluates when it is time."""
        frame = picture(self.bundle, self._env.reset(0, self.options.seed + self.episode)[1])
        self._stack.begin(frame)
        self.replay.begin()
        total, done, figures = 0.0, False, {}
        while not done and self.frame < self.options.frames and not should_stop():
            action = self._action()
            result = self._timed(
                "acting", lambda a=action: self._env.step(a, self._spec.action.mode)
            )
            total, done = total + result.reward, bool(result.terminal)
            self.replay.add(frame, action, result.reward, result.info.get("discount", 1.0))
            frame = picture(self.bundle, result.observation)
            self._stack.add(frame)
            self.step += 1
            if self._learns_now():
                figures = self._timed("learning", self._learn)
            if self._is_time(self.options.evaluate_every):
                self._evaluate()
        self.replay.end(frame)
        self.episode += 1
        self._log("train", {"return": total} | figures)

    def _action(self) -> np.ndarray:
        size = self._spec.action.size
        if self.frame < self.options.explore_frames:
            return self._random.uniform(-1, 1, size).astype(np.float32)
        pixels = self._stack.pixels().to(self._device)
        action: np.ndarray = (
            self.policy.explore(pixels, self.step, self._generator)[0].cpu().numpy()
        )
        return action

    def _learns_now(self) -> bool:
        ready = self.frame >= self.options.seed_frames and self.step > self.options.nstep
        return ready and self.step % self.options.update_every == 0

    def _learn(self) -> dict[str, float]:
        options = self.options
        batch = self.replay.sample(options.batch, options.nstep, options.discount, self._random)
        self.updates += 1
        self.policy.train()
        return self.policy.update(batch.to(self._device), self.step, self._generator)

    def _is_time(self, every: int) -> bool:
        return (
            bool(every) and self.frame // every > (self.frame - self.options.action_repeat) // every
        )

    def _evaluate(self) -> None:
        returns = episode_returns(
            self.bundle, self._evaluation_env, self.options.episodes, EVALUATION_SEED
        )
        self._log("eval", {"return": float(np.mean(returns)), "spread": float(np.std(returns))})
        self.save()

    def _timed(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        result = call(*arguments)
        self._seconds[what] += time.perf_counter() - started
        return result

    def _log(self, kind: str, figures: dict[str, float]) -> None:
        """One row per episode and evaluation: `<kind>.csv` of the run folder."""
        row = {"frame": self.frame, "episode": self.episode, "updates": self.updates, **figures}
        columns = ("frame", "episode", "updates", "return", *COLUMNS[kind])
        values = [f"{row.get(name, float('nan')):.6g}" for name in columns]
        append_line(
            self.files.folder / f"{kind}.csv", ",".join(values) + "\n", ",".join(columns) + "\n"
        )
        per_update = 1e3 * self._seconds["learning"] / max(self.updates, 1)
        per_action = 1e3 * self._seconds["acting"] / max(self.step, 1)
        LOGGER.info(
            "%s: frame %d, return %.1f (%.0f ms per update, %.1f ms per action)",
            *(kind, self.frame, figures["return"], per_update, per_action),
        )

    def save(self) -> None:
        """The checkpoint `model_last.pth`, from which a run goes on and policies act."""
        self.replay.flush()
        online = {
            "step": self.step,
            "episode": self.episode,
            "updates": self.updates,
            "optimizers": self.policy.optimizer_state(),
            "generator": self._generator.get_state(),
        }
        extra = config_extra(self.bundle) | {"stage": 1, "step": self.updates, "online": online}
        save_checkpoint(self.files.last, {"model_state": self.bundle.model_state(), "extra": extra})


COLUMNS = {
    "train": ("critic_loss", "actor_loss", "value", "stddev"),
    "eval": ("spread",),
}
