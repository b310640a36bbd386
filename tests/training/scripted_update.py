"""The project's trainer with losses that a test chooses, and the published update in numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam2act.config.load import load_experiment
from sam2act.core.run_folder import RunFolder
from sam2act.core.types import LossOutput
from sam2act.policies.base import Policy
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.trainer import Trainer, TrainingData

WORLD = DistributedContext(rank=0, size=1, device=torch.device("cpu"))
SCALE = 65536.0  # first scale of the gradient scaler, as published


class ScriptedPolicy(Policy):
    """Parameters whose loss in update k is `losses[k]()`."""

    def __init__(
        self, parameters: Sequence[torch.nn.Parameter], losses: Sequence[Callable[[], Tensor]]
    ) -> None:
        super().__init__()
        self.trained = torch.nn.ParameterList(parameters)
        self.losses = iter(losses)

    def forward(self, *_batch: Any) -> LossOutput:
        """The next loss, in float32 whatever the trainer's precision."""
        with torch.autocast("cpu", enabled=False):
            return LossOutput(next(self.losses)(), {})


class ScriptedTrainer:
    """A trainer in float16, hence with its gradient scaler, on a `ScriptedPolicy`."""

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        losses: Sequence[Callable[[], Tensor]],
        *,
        lr: float,
        opts: str,
        folder: Path,
        config: str = "configs/sam2act.yaml",
    ) -> None:
        """`lr` is that of the optimiser, `opts` are further options of the experiment."""
        experiment = load_experiment(config, f"bs 2 peract.lr {lr / 2!r} epochs 1 {opts}")
        bundle: Any = SimpleNamespace(
            policy=ScriptedPolicy(parameters, losses), experiment=experiment
        )
        data = TrainingData(lambda *_: iter(()), None, torch.zeros(1, 1, 1), {"a": "", "b": ""})
        self.trainer = Trainer(bundle, data, WORLD, RunFolder(folder), dtype=torch.float16)
        self.rates: list[float] = []  # of the updates that moved something
        self.gradients: list[list[np.ndarray]] = []  # of the same, after unscaling
        self.trainer.updater.optimizer.register_step_pre_hook(self._note)

    def _note(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        (group,) = optimizer.param_groups
        self.rates.append(group["lr"])
        self.gradients.append([p.grad.numpy().copy() for p in group["params"]])

    def update(self) -> LossOutput:
        """One update."""
        batch: Any = SimpleNamespace(instruction=torch.zeros(2, dtype=torch.int64), identities=())
        batch.to = lambda _device: batch
        return self.trainer.update(iter([batch]))

    @property
    def scale(self) -> float:
        """Of the gradient scaler."""
        return self.trainer.updater.scaler.get_scale()


def overflowing(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A loss of the same value, but so steep that its scaled gradient is infinite."""

    def steep() -> Tensor:
        value = loss()
        return value + 1e36 * (value - value.detach())

    return steep


class PublishedUpdate:
    """Adam with bias correction, its step clipped to the norm of the tensor, decay afterwards.

    Float64, one tensor, weight decay 1e-4 and betas 0.9 and 0.999 as published.
    """

    def __init__(self, value: np.ndarray) -> None:
        self.value = value.astype(np.float64)
        self.mean, self.square, self.count = 0.0, 0.0, 0

    def step(self, gradient: np.ndarray, lr: float) -> np.ndarray:
        """The new value."""
        gradient = gradient.astype(np.float64)
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        root = np.sqrt(self.square / (1 - 0.999**self.count))
        update = self.mean / (1 - 0.9**self.count) / (root + 1e-8)
        length, limit = np.linalg.norm(update), np.linalg.norm(self.value)
        scale = 1.0 if length <= limit else limit / length
        self.value = (self.value - lr * scale * update) * (1 - lr * 1e-4)
        return self.value
