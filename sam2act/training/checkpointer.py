"""The checkpoints of a run: what they hold, when they are written, how a run goes on from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sam2act.core.run_folder import RunFolder
from sam2act.core.weight_names import LoadReport
from sam2act.policies.checkpoint import (
    CheckpointError,
    PolicyBundle,
    config_extra,
    save_checkpoint,
)
from sam2act.training.ema import WeightAverage
from sam2act.training.optimizer_state import restore_optimizer
from sam2act.training.schedule import WarmupCosine
from sam2act.training.sharding import gathered
from sam2act.training.update import Updater


class Checkpointer:
    """Writes the state of an `Updater` to a run folder and takes it back."""

    def __init__(
        self,
        files: RunFolder,
        bundle: PolicyBundle,
        updater: Updater,
        fingerprints: Mapping[str, str],
    ) -> None:
        """Nothing is written yet.

        Args:
            files: where checkpoints go.
            bundle: the policy that is trained, and its configs.
            updater: of that policy.
            fingerprints: task -> digest of its demonstrations.
        """
        self.files, self.bundle, self.updater = files, bundle, updater
        self.fingerprints = dict(fingerprints)
        self.after_saving: Callable[[], None] = lambda: None  # what belongs to the new files

    def save(self, which: int | str, epoch: int) -> None:
        """Write a checkpoint, atomically and by the main process only.

        Args:
            which: the number of an epoch, `last` or `best`.
            epoch: the last finished one.

        Raises:
            NonFiniteLossError: the state is broken and must not replace a sound file.
        """
        self.updater.guard.check()
        is_main = self.updater.world.is_main
        if not (is_main or self.updater.shards):
            return
        content = self.content(epoch)
        if self.updater.shards:
            content = gathered(content, keep=is_main)
        if is_main:
            save_checkpoint(self.files.checkpoint(which), content)
            self.after_saving()

    def content(self, epoch: int) -> dict[str, Any]:
        """What a checkpoint holds after `epoch`: the published entries, and ours under `extra`."""
        updater, state = self.updater, self.updater.state
        extra = config_extra(self.bundle) | {
            "stage": self.files.stage,
            "step": state.step,
            "scaler": updater.scaler.state_dict(),
            "best_validation": state.best_validation,
            "processes": updater.world.size,
            "started_from": state.started_from,
            "demonstrations": self.fingerprints,
        }
        if updater.average is not None:
            extra["average"] = updater.average.state_dict()
        training_state = updater.policy.training_state()
        if training_state:
            extra["training_state"] = training_state
        return {
            "epoch": epoch,
            "model_state": self.bundle.model_state(),
            "optimizer_state": updater.optimizer.state_dict(),
            "lr_sched_state": updater.schedule.state_dict(),
            "extra": extra,
        }

    def start_from(self, content: Mapping[str, Any], *, earlier_stage: bool = False) -> LoadReport:
        """Take only the weights of a checkpoint, with the statistics of its transforms where these
        are the same; optimiser and schedule start fresh.

        Args:
            content: of the file.
            earlier_stage: the file is of the stage before; what only this stage has starts fresh.

        Raises:
            WeightsError: the weights do not fit.
        """
        adapter = self.updater.policy.weight_adapter
        load = adapter.load_earlier_stage if earlier_stage else adapter.load
        report = load(content["model_state"])
        transforms, stored = self.bundle.transforms, content.get("extra", {}).get("transforms", {})
        if stored.get("texts") == list(transforms.texts):
            transforms.load_state_dict(stored)
        if self.updater.average is not None:
            self.updater.average.reset(self.updater.policy)
        return report

    def resume(self, content: Mapping[str, Any]) -> None:
        """Continue from the content of a checkpoint, at the very next update.

        A file without `extra` (published) continues at the epoch after its own.

        Raises:
            WeightsError: the weights do not fit.
            CheckpointError: the optimiser state belongs to another set of parameters.
        """
        self.start_from(content)
        updater, extra = self.updater, content.get("extra", {})
        updater.policy.load_training_state(extra.get("training_state", {}))
        per_epoch = updater.budget.updates_per_epoch
        state = updater.state
        state.step = extra.get("step", (content.get("epoch", -1) + 1) * per_epoch)
        state.started_from = extra.get("started_from", "")
        state.best_validation = extra.get("best_validation", float("inf"))
        if content.get("optimizer_state"):
            restore_optimizer(
                updater.optimizer, content["optimizer_state"], self.bundle, extra.get("experiment")
            )
        if content.get("lr_sched_state") and "step" not in extra:  # published: its schedule holds
            _load_state(updater.schedule, content["lr_sched_state"])
        else:
            updater.schedule.advance_to(state.step)
        if extra.get("scaler"):
            updater.scaler.load_state_dict(extra["scaler"])
        if updater.average is not None and "average" in extra:
            _load_state(updater.average, extra["average"])


def _load_state(part: WarmupCosine | WeightAverage, state: dict[str, Any]) -> None:
    try:
        part.load_state_dict(state)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
