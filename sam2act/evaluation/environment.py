"""The environment of an evaluation: flags of eval.py, and what evaluation.json says of it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from sam2act.envs.base import EnvConfig

# Fields of `EnvConfig` that are on or off and change what an episode is -> the text of their flag.
SWITCHES = {
    "memory_strict": "MemoryBench in the embedded simulator: remove what would give the past away",
    "strict_order": "MemoryBench: count success only if the steps happen in the described order",
    "clip_targets": "move targets outside the workspace into it; otherwise such an action fails",
    "retry_without_collision": "plan once more ignoring collisions before an action fails",
    "stop_on_success": "end a motion as soon as the task is solved",
}
UNREAD = ("masks", "point_clouds")  # images that nobody who acts in evaluations reads
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(EnvConfig)}
_SETTING_NAMES = {"perturbations": "perturb"}  # as the flag is called


def add_switches(group: argparse._ArgumentGroup) -> None:
    """`--<name>` and `--no-<name>` for every switch, with the default of `EnvConfig`."""
    for name, text in SWITCHES.items():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            action=argparse.BooleanOptionalAction,
            default=_DEFAULTS[name],
            help=f"{text} (default: {'yes' if _DEFAULTS[name] else 'no'})",
        )


def switch_arguments(settings: Mapping[str, Any]) -> dict[str, bool]:
    """The flags, with underscores, that set the switches as `settings` say."""
    return {
        name if settings[name] else f"no_{name}": True
        for name in SWITCHES
        if name in settings and settings[name] is not _DEFAULTS[name]
    }


def environment_of(
    args: argparse.Namespace, task: str, backend: str, cameras: tuple[str, ...], image_size: int
) -> EnvConfig:
    """The environment that the flags ask for.

    Args:
        args: flags of eval.py.
        task: name of the task that is opened first.
        backend: which simulator.
        cameras: whose images are needed.
        image_size: pixels per side.

    Raises:
        ValueError: there is no such environment.
    """
    return EnvConfig(
        task=task,
        backend=backend,
        cameras=cameras,
        image_size=image_size,
        perturbations=tuple(args.perturb),
        headless=args.headless,
        **{name: getattr(args, name) for name in SWITCHES},
    )


def settings_of(config: EnvConfig) -> dict[str, Any]:
    """Every field of `config` but the task, under the names of the flags, as JSON gives it back."""
    values = dataclasses.asdict(config)
    del values["task"]
    return {
        _SETTING_NAMES.get(name, name): list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }
