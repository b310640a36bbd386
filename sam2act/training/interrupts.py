"""Conditions that end a run early: a loss that is not finite, a request to stop."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sam2act.core.errors import UserError
from sam2act.core.files import replacing
from sam2act.core.types import SampleIdentity


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite; the message names the step and its samples."""


class _Entry(NamedTuple):
    """What is known about one micro-batch."""

    step: int
    values: Mapping[str, Tensor]
    identities: tuple[SampleIdentity, ...]


class NonFiniteGuard:
    """Remembers the samples of recent steps and checks their losses, late on a GPU.

    Reading a value waits for the device, so on a GPU `check` is called on logging steps and before
    saving only; the values in between are kept on the device.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._recent: list[_Entry] = []

    def record(
        self, step: int, values: Mapping[str, Tensor], identities: tuple[SampleIdentity, ...]
    ) -> None:
        """Note the losses (and the gradient norm) of one micro-batch; does not wait."""
        detached = {name: value.detach() for name, value in values.items()}
        self._recent.append(_Entry(step, detached, identities))

    def check(self) -> None:
        """Raise if a recorded value is not finite, and write what is known about it as json.

        Raises:
            NonFiniteLossError: names the step, the loss terms and the samples.
        """
        if not self._recent:
            return
        sums = [torch.stack(list(entry.values.values())).sum() for entry in self._recent]
        finite = torch.stack(sums).isfinite().tolist()
        for is_finite, entry in zip(finite, self._recent, strict=True):
            if not is_finite:
                self._fail(entry)
        self._recent.clear()

    def _fail(self, entry: _Entry) -> None:
        values = {name: float(value) for name, value in entry.values.items()}
        path = self.folder / f"non_finite_loss_step_{entry.step}.json"
        samples = [identity._asdict() for identity in entry.identities]
        text = json.dumps({"step": entry.step, "values": values, "samples": samples})
        with replacing(path, shared=True) as partial:
            partial.write_text(text, encoding="utf-8")
        named = "; ".join(
            f"{item.task} episode {item.episode} frame {item.frame}" for item in entry.identities
        )
        raise NonFiniteLossError(
            f"the loss or gradient of step {entry.step} is not finite: {values}. "
            f"Samples: {named}. Written to {path}. Look at these samples, lower peract.lr, set "
            "peract.grad_clip, or use peract.amp_dtype bfloat16; the last checkpoint is intact"
        )


class StopRequest:
    """True once Ctrl-C or a termination signal has arrived; the loop ends after its step."""

    def __init__(self) -> None:
        self.requested = False

    def __bool__(self) -> bool:
        return self.requested

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Turn the first SIGINT or SIGTERM into a request; a second Ctrl-C interrupts at once."""

        def note(signum: int, _frame: object) -> None:
            self.requested = True
            signal.signal(signum, previous[signal.Signals(signum)])

        signals = (signal.SIGINT, signal.SIGTERM)
        previous = {signum: signal.getsignal(signum) for signum in signals}
        try:
            for signum in signals:
                signal.signal(signum, note)
            yield self
        finally:
            for signum in signals:
                signal.signal(signum, previous[signum])
