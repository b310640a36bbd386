"""What a training costs: parameters, memory and time, in a file beside its checkpoints."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sam2act.core.files import replacing
from sam2act.policies.base import Policy
from sam2act.runtime.memory import peak_process_bytes

TOTAL = "total"


@dataclass(frozen=True)
class Costs:
    """The costs of a run so far; what was stored before a resume is included.

    Attributes:
        updates: done.
        total_updates: of the whole run.
        parameters: of the policy.
        trained_parameters: those that the optimiser moves.
        peak_memory_bytes: most memory at any time: on a GPU what its tensors took, on a CPU what
            the whole process took, libraries and data included.
        memory_of: `gpu` or `process`.
        seconds: of training, without the start of the program.
        device: its name.
    """

    updates: int
    total_updates: int
    parameters: int
    trained_parameters: int
    peak_memory_bytes: int
    memory_of: str
    seconds: float
    device: str


class CostMeter:
    """Measures a training on its main process."""

    def __init__(self, path: Path, policy: Policy, device: torch.device) -> None:
        """Nothing is written yet.

        Args:
            path: file of the costs.
            policy: that is trained.
            device: on which it lies.
        """
        self._path, self._policy, self._device = path, policy, device
        self._before: dict[str, Any] = {}
        self._start = time.monotonic()

    def start(self, *, resumed: bool) -> None:
        """Start the clock; `resumed`: what the file holds belongs to the same run."""
        self._before = _stored(self._path) if resumed else {}
        self._start = time.monotonic()

    def knows(self, updates: int) -> bool:
        """Whether the costs after `updates` are stored already."""
        return _stored(self._path).get("updates") == updates

    def write(self, updates: int, total_updates: int) -> None:
        """Store the costs after `updates` of `total_updates`, atomically."""
        gpu = self._device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self._device) if gpu else peak_process_bytes()
        parameters, trained = parameter_counts(self._policy)[TOTAL]
        costs = Costs(
            updates=updates,
            total_updates=total_updates,
            parameters=parameters,
            trained_parameters=trained,
            peak_memory_bytes=max(peak, int(self._before.get("peak_memory_bytes", 0))),
            memory_of="gpu" if gpu else "process",
            seconds=float(self._before.get("seconds", 0)) + time.monotonic() - self._start,
            device=torch.cuda.get_device_name(self._device) if gpu else "cpu",
        )
        with replacing(self._path) as partial:
            partial.write_text(json.dumps(asdict(costs), indent=1) + "\n", encoding="utf-8")


def parameter_counts(policy: Policy) -> dict[str, tuple[int, int]]:
    """Parameters in all and trained, per component and in total."""
    return {
        name: (
            sum(p.numel() for p in part.parameters()),
            sum(p.numel() for p in part.parameters() if p.requires_grad),
        )
        for name, part in {**policy.parts(), TOTAL: policy}.items()
    }


def _stored(path: Path) -> dict[str, Any]:
    """What an earlier part of the run stored; nothing if the file is absent or broken."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
