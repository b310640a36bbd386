"""What an earlier run left, compared with what is asked for now.

A checkpoint of this project records its configuration, its demonstrations and the number of
processes; of a released one the yaml files beside it tell what they name. A run continues only
where all of that agrees with the request, except for the keys of `MAY_CHANGE`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from sam2act.config.component import PolicyConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import (
    flat,
    from_dict,
    keys_of,
    load_experiment,
    load_network,
    network_from_dict,
    to_dict,
)
from sam2act.core.errors import ConfigError
from sam2act.core.run_folder import RunFolder
from sam2act.core.tasks import RLBENCH_TASKS, expand_tasks
from sam2act.core.wording import listing
from sam2act.policies.base import policy_class
from sam2act.training.budget import TrainingBudget

# Keys of the experiment config that may differ from those of the checkpoint that a run continues
# from; a policy names those of its own (`Policy.may_change`). A key that is not listed must stay:
# so must every new one.
MAY_CHANGE = (
    *("exp_id", "exp_name", "resume"),  # where the run lies; which file it continues from
    *("data_folder", "store_folder", "replay_folder"),  # the demonstrations are compared themselves
    *("language.weights_path", "language.cache"),  # places of files
    *("num_workers", "wandb", "log_every", "validation.every"),  # how it runs and is watched
    "epochs",  # compared with the updates that are done: `_check_epochs`
    *("bs", "peract.grad_accumulation"),  # samples per update are compared: `_check_samples`
    # The same function computed otherwise, up to rounding.
    *("peract.compile", "peract.amp_dtype", "peract.skip_dead_lora", "peract.sharding"),
    "eval.*",  # training does not read them
    *("agent", "peract_official.*"),  # nothing reads them
)
# Keys of the experiment config that decide what the network sees.
SEEN_BY_THE_NETWORK = (
    *("cameras", "scene_bounds", "language.encoder", "peract.num_rotation_classes"),
    *("rvt.place_with_mean", "rvt.move_pc_in_bound"),
)
_NEW_RUN = (
    "restore the old values to continue that run, take another exp_name for a new one, or another "
    "exp_name with --init-from FILE for a new one that starts from its weights"
)


class Difference(NamedTuple):
    """A key whose value changed."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key} {_shown(self.before)} -> {_shown(self.now)}"


@dataclass(frozen=True)
class Recorded:
    """What is known about the run that wrote a checkpoint.

    Attributes:
        values: dotted key -> value, of both configs; only keys that are really recorded.
        processes: their number, None if unknown.
        started_from: file that its weights came from, "" if from none; None if unknown.
        fingerprints: task -> digest of its demonstrations; empty if unknown.
        updates: that are done; None if unknown.
    """

    values: Mapping[str, Any]
    processes: int | None = None
    started_from: str | None = None
    fingerprints: Mapping[str, str] | None = None
    updates: int | None = None


def recorded(path: Path, content: Mapping[str, Any]) -> Recorded:
    """What the checkpoint `path` with `content`, or the yaml files beside it, tell about its run.

    Raises:
        ConfigError: a recorded configuration is unknown to this version.
    """
    extra = content.get("extra", {})
    if "experiment" in extra:
        experiment = from_dict(ExperimentConfig, extra["experiment"])
        network = network_from_dict(extra["network"])
        return Recorded(
            requested(experiment, network),
            processes=extra.get("processes"),
            started_from=extra.get("started_from"),
            fingerprints=extra.get("demonstrations"),
            updates=extra.get("step"),
        )
    values: dict[str, Any] = {}
    run = RunFolder.of(path, content)
    for file, load in ((run.experiment, load_experiment), (run.network, load_network)):
        if file.is_file():
            named = keys_of(file)
            values |= {k: v for k, v in flat(to_dict(load(file))).items() if k in named}
    if "tasks" in values:
        values["tasks"] = _task_text(values["tasks"])
    return Recorded(values)


def requested(experiment: ExperimentConfig, network: PolicyConfig) -> dict[str, Any]:
    """Dotted key -> value of both configs."""
    values = flat(to_dict(experiment)) | flat(to_dict(network))
    return values | {"tasks": _task_text(experiment.tasks)}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """The keys of `before` whose value is another one in `now`."""
    return [Difference(k, v, now[k]) for k, v in before.items() if k in now and now[k] != v]


def check_resume(
    path: Path,
    content: Mapping[str, Any],
    experiment: ExperimentConfig,
    network: PolicyConfig,
    *,
    processes: int,
    init_from: str = "",
) -> list[Difference]:
    """Compare a request with the checkpoint that it would continue.

    Args:
        path: the checkpoint.
        content: of it.
        experiment: asked for now.
        network: asked for now.
        processes: that train now.
        init_from: file whose weights are asked for; "" = none.

    Returns:
        What differs and may.

    Raises:
        ConfigError: something differs that may not; the message names it and the ways on.
    """
    known = recorded(path, content)
    found = differences(known.values, requested(experiment, network))
    refused = [item for item in found if not _matches(item.key, _may_change(network))]
    refused += _check_samples(known, experiment, processes)
    if refused:
        raise ConfigError(f"{path}: was trained with other values: {listing(refused)}; {_NEW_RUN}")
    _check_epochs(path, known, experiment, processes)
    start = str(Path(init_from).resolve()) if init_from else ""
    if start and known.started_from is not None and start != known.started_from:
        raise ConfigError(
            f"{path}: this run started from {known.started_from or 'fresh weights'}, not from "
            f"--init-from {init_from}; leave the flag out to continue it, or take another exp_name"
        )
    return [item for item in found if item.key not in ("exp_id", "exp_name", "resume")]


def check_stage_of(path: Path, content: Mapping[str, Any], stage: int) -> None:
    """Raise `ConfigError` if a checkpoint says that another stage than `stage` wrote it."""
    written = (content.get("extra") or {}).get("stage", stage)
    if written != stage:
        raise ConfigError(
            f"{path}: is a checkpoint of stage {written}, this is stage {stage}; continue it with "
            "train.py (stage 1) or train_plus.py (stage 2), or name a checkpoint of this stage"
        )


def _check_samples(
    known: Recorded, experiment: ExperimentConfig, processes: int
) -> list[Difference]:
    """The factors of the number of samples per update, if their product differs."""
    factors = {
        "bs": experiment.bs,
        "peract.grad_accumulation": experiment.peract.grad_accumulation,
        "processes": processes,
    }
    before = {key: known.values.get(key, now) for key, now in factors.items()}
    before["processes"] = known.processes or processes
    if math.prod(before.values()) == math.prod(factors.values()):
        return []
    return differences(before, factors)


def _check_epochs(
    path: Path, known: Recorded, experiment: ExperimentConfig, processes: int
) -> None:
    """Raise `ConfigError` if fewer epochs are asked for than are done."""
    plan = TrainingBudget.from_config(experiment, processes)
    if known.updates is not None and known.updates > plan.total_updates:
        raise ConfigError(
            f"{path}: {known.updates} updates of {plan.updates_per_epoch} per epoch are done, more "
            f"than epochs {experiment.epochs} asks for; raise epochs, continue an earlier "
            "checkpoint (resume FILE), or take another exp_name"
        )


def check_demonstrations(
    path: Path, content: Mapping[str, Any], fingerprints: Mapping[str, str]
) -> None:
    """Raise `ConfigError` if the run `path` was trained on other demonstrations than there are now.

    Args:
        path: a checkpoint.
        content: of it.
        fingerprints: task -> digest of its demonstrations now.
    """
    before = content.get("extra", {}).get("demonstrations") or fingerprints
    changed = sorted(task for task, digest in fingerprints.items() if before.get(task) != digest)
    if changed:
        raise ConfigError(
            f"{path}: was trained on other demonstrations of {', '.join(changed)} than data_folder "
            f"and store_folder hold now; give it the old ones, or {_NEW_RUN.partition(', ')[2]}"
        )


def check_earlier_stage(
    path: Path,
    content: Mapping[str, Any],
    experiment: ExperimentConfig,
    network: PolicyConfig,
    *,
    same_run: bool,
) -> list[Difference]:
    """Compare a request for stage 2 with the stage-1 checkpoint that it would start from.

    Args:
        path: the checkpoint.
        content: of it.
        experiment: asked for now.
        network: asked for now.
        same_run: the file was not named by the user, it is that of the run folder; then it must
            have been trained on the tasks, too.

    Returns:
        What else differs in what the network sees or in the tasks.

    Raises:
        ConfigError: the network, its inputs or the tasks differ.
    """
    known = recorded(path, content).values
    free = (*_may_change(network), *policy_class(network).may_change_between_stages)
    network_keys = flat(to_dict(network))
    found = differences(known, requested(experiment, network))
    refused = [
        item
        for item in found
        if _matches(item.key, SEEN_BY_THE_NETWORK)
        or (item.key in network_keys and not _matches(item.key, free))
    ]
    for item in found:
        if same_run and item.key == "tasks" and _has_new_tasks(item):
            refused.append(item)
    if refused:
        raise ConfigError(
            f"{path}: stage 1 was trained with other values: {listing(refused)}; use its values, "
            "or name the stage-1 checkpoint to start from with --init-from (its tasks may differ)"
        )
    return [item for item in found if item.key in ("tasks", "image_size")]


def weights_differ_in(
    path: Path,
    content: Mapping[str, Any],
    experiment: ExperimentConfig,
    network: PolicyConfig,
) -> list[Difference]:
    """What the network of a checkpoint saw or was otherwise than that of a run starting from it."""
    found = differences(recorded(path, content).values, requested(experiment, network))
    keys = {*flat(to_dict(network)), *SEEN_BY_THE_NETWORK, "tasks", "image_size"}
    free = _may_change(network)
    return [item for item in found if item.key in keys and not _matches(item.key, free)]


def _may_change(network: PolicyConfig) -> tuple[str, ...]:
    """Patterns of keys of both configs that may differ from those of a run that is continued."""
    return (*MAY_CHANGE, *policy_class(network).may_change)


def _task_text(tasks: str) -> str:
    """The key `tasks` in one spelling."""
    names = expand_tasks(tasks)
    return "all" if names == RLBENCH_TASKS else ",".join(names)


def _has_new_tasks(tasks: Difference) -> bool:
    return not set(expand_tasks(tasks.now)) <= set(expand_tasks(tasks.before))


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(key, pattern) for pattern in patterns)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(str, value))}]"
    return repr(value) if value == "" else str(value)
