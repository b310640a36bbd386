"""What an evaluation is asked to do; made by `sam2act eval`, or in Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2act.core.errors import UserError
from sam2act.core.tasks import expand_tasks

AUTO = "auto"  # the backend in which the demos were recorded


class OptionError(UserError):
    """The options contradict each other; the message says what to change."""


@dataclass(frozen=True)
class EvaluationOptions:
    """One evaluation; every field is the flag of `sam2act eval` of that name.

    Attributes:
        model_folder: the run, whose checkpoints are evaluated; results go to its eval/.
        model_name: checkpoint files in it, patterns, or `all`; empty = `ground_truth`.
        exp_cfg_path: yaml that replaces the experiment config of the run.
        exp_cfg_opts: changes of it.
        mvt_cfg_path: yaml that replaces the network config of the run.
        ground_truth: replay the demos' keyframes.
        executor: which actions of predicted sequences are executed; "" = as the policy says.
        log_name: folder below eval/.
        tasks: names of tasks of the backend, or of sets.
        eval_datafolder: demos of a split, where no seed is given.
        start_episode: number of the first episode.
        eval_episodes: per task.
        episode_length: most steps of an episode; None = what suits the control mode.
        demo_lengths: the same for policies that act at frame rate, in multiples of the longest
            demo of these tasks in eval_datafolder; 0 = not so.
        seed: of new scenes, in place of demos.
        wording: which of an episode's instructions the policy is told; 0 is the first.
        repeats: how often, into <log_name>/1 and so on.
        skip_bad_episodes: leave out broken demos.
        backend: name of the simulator; `auto`: that of the demos.
        env_options: options of the backend by name, as `Options` of the backend has them.
        env_opts: further ones as `"key value key value"`.
        workers: simulator processes; 0 = as many as suit the machine.
        batch_size: rows of a forward pass; 0 = 1 on a CPU, 8 on a GPU.
        device: as `runtime.devices.choose_device` reads it.
        time_limit: seconds of simulation per episode.
        resume: keep the episodes that are finished.
        skip: leave out checkpoints whose evaluation is complete.
        save_video: film the first N episodes of each task; None = all.
        measure_latency: time ten forward passes at the end.
    """

    model_folder: Path
    model_name: tuple[str, ...] = ()
    exp_cfg_path: str = ""
    exp_cfg_opts: str = ""
    mvt_cfg_path: str = ""
    ground_truth: bool = False
    executor: str = ""
    log_name: str = "none"
    tasks: tuple[str, ...] = ("insert_onto_square_peg",)
    eval_datafolder: Path = Path("data/val")
    start_episode: int = 0
    eval_episodes: int = 10
    episode_length: int | None = None
    demo_lengths: float = 0
    seed: int | None = None
    wording: int = 0
    repeats: int = 1
    skip_bad_episodes: bool = False
    backend: str = AUTO
    env_options: Mapping[str, Any] = field(default_factory=dict)
    env_opts: str = ""
    workers: int = 0
    batch_size: int = 0
    device: str = "0"
    time_limit: float = 300
    resume: bool = False
    skip: bool = False
    save_video: int | None = 0
    measure_latency: bool = False

    def __post_init__(self) -> None:
        """Tuples and paths in place of texts; `OptionError` where options contradict each other."""
        for name in ("model_folder", "eval_datafolder"):
            object.__setattr__(self, name, Path(getattr(self, name)))
        for name in ("model_name", "tasks"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        log_name = Path(self.log_name)
        if log_name.is_absolute() or not log_name.parts or ".." in log_name.parts:
            raise OptionError(
                f"--log-name {self.log_name!r}: needs a folder below eval/ of the run, such as test"
            )
        if self.model_name and self.ground_truth:
            raise OptionError("--ground-truth uses no checkpoint: leave --model-name out")
        if self.seed is not None and self.ground_truth:
            raise OptionError("--ground-truth replays recorded demos: leave --seed out")
        if self.demo_lengths and self.episode_length is not None:
            raise OptionError("--episode-length and --demo-lengths: give one of them")
        if self.seed is not None and self.backend == AUTO:
            raise OptionError("--seed has no demos to tell the simulator: add --backend embedded")

    @property
    def log_names(self) -> list[str]:
        """Folders below eval/, one per repeat."""
        if self.repeats == 1:
            return [self.log_name]
        return [f"{self.log_name}/{number}" for number in range(1, self.repeats + 1)]

    def task_list(self) -> list[str]:
        """Names of tasks; those of sets in their place.

        Raises:
            OptionError: a task twice.
        """
        tasks = list(expand_tasks(self.tasks))
        if len(set(tasks)) < len(tasks):
            raise OptionError(f"--tasks {' '.join(self.tasks)}: a task is named twice")
        return tasks

    def as_dict(self) -> dict[str, Any]:
        """Every flag, as plain values."""
        values = dataclasses.asdict(self)
        options = dict(values.pop("env_options"))
        values["perturb"] = options.pop("perturbations", ())
        return {name: _plain(value) for name, value in (values | options).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
