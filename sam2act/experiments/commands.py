"""The commands that experiments are made of, as words for a process.

Only the standard library is imported: the quick start asks for a plan before anything is installed.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

FIRST_EVALUATION_SEED = 7000  # of scenes; those of demonstrations count from 0
Command = tuple[str, ...]


def python(*arguments: object) -> Command:
    """This interpreter with arguments."""
    return (sys.executable, *map(str, arguments))


def sam2act(*arguments: object) -> Command:
    """The command `sam2act` with arguments, also where it is not on the path."""
    return python("-m", "sam2act", *arguments)


def as_text(command: Sequence[str]) -> str:
    """How a user writes a command of `sam2act`."""
    words = list(command)
    if words[:3] == list(sam2act()):
        words = ["sam2act", *words[3:]]
    return shlex.join(words)


def demonstrations(
    output: Path,
    task: str,
    *,
    episodes: int,
    seed: int,
    image_size: int,
    workers: int,
    more: Sequence[object] = (),
) -> Command:
    """Scripted demonstrations of one task in the folder of a split."""
    return sam2act(
        *("demos", "--tasks", task, "--episodes", episodes, "--seed", seed),
        *("--image-size", image_size, "--workers", workers, "--output", output, *more),
    )


def training(
    stage: int,
    preset: str,
    options: str,
    *,
    log_dir: Path,
    network_options: str = "",
    task_file: str = "",
    more: Sequence[object] = (),
) -> Command:
    """A training of the preset's pair of yaml files.

    Args:
        stage: 1 or 2.
        preset: name of `configs/NAME.yaml` and `configs/mvt/NAME.yaml`.
        options: of the experiment, as `key value key value`.
        log_dir: folder around the run folder.
        network_options: the same of the network.
        task_file: yaml file with values of one task.
        more: further arguments.
    """
    words: list[object] = [
        *("train-plus" if stage == 2 else "train", "--log-dir", log_dir),
        *("--exp_cfg_path", f"configs/{preset}.yaml"),
        *("--mvt_cfg_path", f"configs/mvt/{preset}.yaml"),
        *("--exp_cfg_opts", " ".join(options.split())),
    ]
    if network_options:
        words += ["--mvt_cfg_opts", network_options]
    if task_file:
        words += ["--task_cfg_path", task_file]
    return sam2act(*words, *more)


def evaluation(
    checkpoint: Path,
    task: str,
    *,
    seed: int,
    episodes: int,
    episode_length: int | None = None,
    log_name: str,
    workers: int,
    more: Sequence[object] = (),
) -> Command:
    """A closed-loop evaluation on new scenes of the embedded simulator.

    Args:
        checkpoint: file in the run folder of its training.
        task: of whose scenes.
        seed: of demonstrations and training; it chooses scenes that neither has seen.
        episodes: how many.
        episode_length: most actions of an episode; None = what suits the control mode.
        log_name: folder of the results.
        workers: simulator processes.
        more: further arguments.
    """
    return closed_loop(
        checkpoint,
        task,
        scenes=("embedded", FIRST_EVALUATION_SEED + 100 * seed),
        episodes=episodes,
        episode_length=episode_length,
        log_name=log_name,
        more=("--workers", workers, *more),
    )


def closed_loop(
    checkpoint: Path,
    task: str,
    *,
    scenes: tuple[str, int],
    episodes: int,
    log_name: str,
    episode_length: int | None = None,
    more: Sequence[object] = (),
) -> Command:
    """A closed-loop evaluation in any simulator; it goes on where it was stopped.

    Args:
        checkpoint: file in the run folder of its training.
        task: of whose scenes.
        scenes: backend, and the seed of its first scene.
        episodes: how many.
        log_name: folder of the results.
        episode_length: most actions of an episode; None = what suits the control mode.
        more: further arguments.
    """
    backend, seed = scenes
    length = () if episode_length is None else ("--episode-length", episode_length)
    return sam2act(
        *("eval", "--model-folder", checkpoint.parent, "--model-name", checkpoint.name),
        *("--tasks", task, "--backend", backend, "--seed", seed),
        *("--eval-episodes", episodes, *length, "--log-name", log_name, "--resume", *more),
    )
