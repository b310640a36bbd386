"""What the command line says about one training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrainingOptions:
    """Which configs a run has, where it lies, and how it starts.

    Attributes:
        experiment_file: yaml of the experiment config, "" for its defaults.
        network_file: yaml of the network config.
        task_file: yaml with values of one task for both.
        experiment_opts: changes of the experiment config, `"key value key value"`.
        network_opts: changes of the network config.
        log_dir: parent of the run folder.
        device: as `runtime.devices.choose_device` reads it.
        init_from: checkpoint whose weights the run starts from; "" = none.
        from_scratch: stage 2 may start without a checkpoint of stage 1.
        refresh_replay: build the frame stores anew.
        skip_bad_episodes: leave out broken demos and list them.
        arguments: the whole command line, as it is kept in the run folder.
    """

    experiment_file: str = ""
    network_file: str = ""
    task_file: str = ""
    experiment_opts: str = ""
    network_opts: str = ""
    log_dir: str = "runs"
    device: str = "0"
    init_from: str = ""
    from_scratch: bool = False
    refresh_replay: bool = False
    skip_bad_episodes: bool = False
    arguments: Mapping[str, object] = field(default_factory=dict)
