"""The figures of a run on their way to its log and its progress bar."""

from __future__ import annotations

from collections.abc import Mapping

from tqdm import tqdm

from sam2act.core.types import LossOutput
from sam2act.training.keyframe_means import KeyframeMeans, keyframe_columns, largest_means
from sam2act.training.meter import Meter
from sam2act.training.run_log import RunLog
from sam2act.training.update import Updater


class Figures:
    """Collects the losses of updates, and writes their means with rates and values per keyframe."""

    def __init__(self, log: RunLog, updater: Updater, progress: tqdm) -> None:
        """The clock of samples per second starts now."""
        self._log, self._updater, self._progress = log, updater, progress
        self.restart()

    def restart(self) -> None:
        """Forget what was not written; the clock starts anew."""
        self._meter = Meter(self._updater.budget.samples_per_update)

    def add(self, output: LossOutput) -> None:
        """Add one update; does not wait for the device."""
        self._meter.add(output)
        self._progress.update()

    def write(self, *, console: bool) -> None:
        """Log the means since the last call; `console`: print them, too.

        Raises:
            NonFiniteLossError: a loss became NaN or infinite.
        """
        values = self._meter.read()
        self._updater.guard.check()
        values["lr"] = self._updater.schedule.last_lrs()[0]
        self._write(values, self._updater.by_keyframe, console=console)
        self._progress.set_postfix(
            loss=f"{values['total_loss']:.3f}", samples_per_s=f"{values['samples_per_second']:.1f}"
        )

    def write_validation(
        self, values: Mapping[str, float], by_keyframe: KeyframeMeans | None
    ) -> None:
        """Log and print the losses on held-out samples."""
        self._write(values, by_keyframe, prefix="validation_")

    def _write(
        self,
        values: Mapping[str, float],
        by_keyframe: KeyframeMeans | None,
        *,
        prefix: str = "",
        console: bool = True,
    ) -> None:
        """One row of the log; of the means per keyframe only the largest is printed."""
        means = by_keyframe.read() if by_keyframe is not None else {}
        step, details = self._updater.state.step, keyframe_columns(means, prefix)
        self._log.log(step, values, console=console, details=details, note=largest_means(means))
