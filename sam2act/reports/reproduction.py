"""The part of the report about repeating it: commands, checkpoints, versions, configuration."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.core.registry import DEFAULT_POLICY
from sam2act.evaluation.analysis.methods import (
    GROUND_TRUTH,
    Evaluation,
    Method,
    run_names,
)
from sam2act.evaluation.environment import switch_arguments
from sam2act.reports.page import Page
from sam2act.reports.training import ABSENT, STAGES, Stage, has_memory_stages

# Flags of the published command line have underscores, all others dashes.
UNDERSCORED = (
    "exp_cfg_path",
    "mvt_cfg_path",
    "task_cfg_path",
    "exp_cfg_opts",
    "mvt_cfg_opts",
    "refresh_replay",
)
EVALUATION_SETTINGS = (
    "exp_cfg_path",
    "mvt_cfg_path",
    "backend",
    "tasks",
    "seed",
    "start_episode",
    "eval_episodes",
    "episode_length",
    "batch_size",
    "perturb",
    "headless",
)
FEW = 4  # commands that are shown at once
HASH_LETTERS = 16  # enough to tell checkpoints apart
LINE = 76  # letters of a command before it goes on in the next line


def add_reproduction(page: Page, runs: Sequence[Path], methods: Sequence[Method]) -> None:
    """Commands, evaluation settings, checkpoints, versions, differences of the configuration."""
    page.heading("How to repeat it")
    names = run_names(runs)
    commands = [command for run in runs for command in training_commands(run)]
    commands += [command for method in methods for command in evaluation_commands(method)]
    with page.folded(f"{len(commands)} commands") if len(commands) > FEW else nullcontext():
        for command in commands:
            page.code(command)
    missing = [str(run) for run in runs if not training_commands(run)]
    if missing:
        page.text(f"No readable args.yaml in {', '.join(missing)}; training writes it.")
    described = [(m, e) for m in methods for e in m.evaluations if e.description]
    if described:
        header = ["method", "evaluation", "checkpoint", "update", "sha256 begins", "date"]
        page.table(header, [_origin(*pair) for pair in described], texts=range(len(header)))
        with page.folded("Settings of the evaluations"):
            page.table(*settings_table(described))
        with page.folded("Versions and machines"):
            page.table(*versions_table(described), texts=(0, 1, 2))
    for stage in STAGES:
        _add_configuration(page, stage, names)


def _add_configuration(page: Page, stage: Stage, names: Mapping[Path, str]) -> None:
    """How the configurations of a stage differ from the published one, policy by policy."""
    trained: dict[str, dict[str, Path]] = {}
    for run, name in names.items():
        if all(path.is_file() for path in stage.configs(run)):
            trained.setdefault(stage.policy(run), {})[name] = run
    for policy, runs in trained.items():
        origin = "the published one" if policy == DEFAULT_POLICY else "the defaults"
        with page.folded(f"Configuration of {stage.title(policy)}: differences from {origin}"):
            header, rows = config_differences(stage, runs, policy)
            page.table(header, rows, texts=range(len(header)))
    if not trained and any(has_memory_stages(run) for run in names):
        wanted = " and ".join(path.name for path in stage.configs(Path()))
        page.text(f"No {wanted}: python -m {stage.module} writes them.")


def training_commands(run: Path) -> list[str]:
    """The command lines of both stages, from the arguments that they stored."""
    commands = []
    for stage in STAGES:
        arguments = _read_mapping(stage.folder(run).arguments)
        if arguments:
            commands.append(command_line(stage.module, arguments))
    return commands


def evaluation_commands(method: Method) -> list[str]:
    """The command lines that evaluate a method, from the settings that it stored."""
    series: dict[tuple[Path, str], list[Evaluation]] = {}
    for evaluation in method.evaluations:
        if evaluation.description:
            series.setdefault((evaluation.run, evaluation.series), []).append(evaluation)
    commands = []
    for (_, name), group in series.items():
        if are_repeats(name, group):
            commands.append(_evaluation_command(group[0], name, len(group)))
        else:
            commands += [_evaluation_command(e, e.log_name, None) for e in group]
    return commands


def are_repeats(name: str, group: Sequence[Evaluation]) -> bool:
    """Whether one command with --repeats makes these evaluations, at <name>/1, <name>/2, ..."""
    settings = [dict(evaluation.section("settings")) for evaluation in group]
    seeds = [values.pop("seed", None) for values in settings]
    numbers, first = range(len(group)), seeds[0]
    return (
        len(group) > 1
        and [e.log_name for e in group] == [f"{name}/{number + 1}" for number in numbers]
        and seeds == [None if first is None else first + number for number in numbers]
        and all(values == settings[0] for values in settings)
    )


def _evaluation_command(first: Evaluation, log_name: str, repeats: int | None) -> str:
    settings = first.section("settings")
    fresh = settings.get("seed") is not None
    arguments: dict[str, Any] = {
        "model_folder": first.run,
        "model_name": first.section("checkpoint").get("name"),
        "ground_truth": first.kind == GROUND_TRUTH,
        "log_name": log_name,
        "repeats": repeats,
        "eval_datafolder": None if fresh else settings.get("data"),
    }
    if first.kind == GROUND_TRUTH:
        del arguments["model_name"]
    arguments |= {name: settings.get(name) for name in EVALUATION_SETTINGS}
    arguments |= switch_arguments(settings)
    arguments["skip_bad_episodes"] = bool(first.section("skipped"))
    return command_line("sam2act.eval", arguments)


def command_line(module: str, arguments: Mapping[str, Any]) -> str:
    """A command from stored arguments; what is empty or off is left out."""
    parts = [["python", "-m", module]]
    for name, value in arguments.items():
        flag = f"--{name if name in UNDERSCORED else name.replace('_', '-')}"
        if value is True:
            parts.append([flag])
        elif isinstance(value, list) and value:
            parts.append([flag, *map(str, value)])
        elif value is not False and value not in (None, "", []):
            parts.append([flag, " ".join(str(value).split())])
    lines = [""]
    for part in map(shlex.join, parts):
        if lines[-1] and len(lines[-1]) + len(part) > LINE:
            lines.append("    ")
        lines[-1] += part + " "
    return "\\\n".join(lines).rstrip()


def _read_mapping(path: Path) -> Mapping[str, Any]:
    """The content of a yaml file, empty if it is absent or damaged."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return {}
    return values if isinstance(values, Mapping) else {}


def _origin(method: Method, evaluation: Evaluation) -> list[str]:
    checkpoint = evaluation.section("checkpoint")
    return [
        method.label,
        evaluation.log_name or ABSENT,
        _text(checkpoint.get("name", evaluation.stem)),
        _text(checkpoint.get("step")),
        _text(checkpoint.get("sha256"))[:HASH_LETTERS],
        _text(evaluation.description.get("date")),
    ]


Described = Sequence[tuple[Method, Evaluation]]


def settings_table(described: Described) -> tuple[list[str], list[list[str]]]:
    """Header and rows: every setting of every method, repetitions joined."""
    labels = list(dict.fromkeys(method.label for method, _ in described))
    methods = {method.label: method for method, _ in described}
    keys = dict.fromkeys(key for _, e in described for key in e.section("settings"))
    rows = [
        [key, *(" | ".join(map(_text, methods[name].values("settings", key))) for name in labels)]
        for key in keys
    ]
    return ["setting", *labels], [row for row in rows if any(row[1:])]


def versions_table(described: Described) -> tuple[list[str], list[list[str]]]:
    """Header and rows: every package, and the machine, and the methods that used it."""
    users: dict[tuple[str, str], dict[str, None]] = {}
    for method, evaluation in described:
        versions = {
            **evaluation.section("versions"),
            "machine": evaluation.description.get("machine"),
        }
        for package, version in versions.items():
            users.setdefault((package, _text(version)), {})[method.label] = None
    return ["package", "version", "used by"], [
        [package, version, ", ".join(labels)] for (package, version), labels in users.items()
    ]


def config_differences(
    stage: Stage, runs: Mapping[str, Path], policy: str = DEFAULT_POLICY
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the keys in which runs of a policy differ from the published configuration,
    or from the defaults of a policy of which none is published.

    Raises:
        ConfigError: a stored configuration cannot be read.
    """
    own = policy == DEFAULT_POLICY
    published = [f"configs/{stage.preset}.yaml", f"configs/mvt/{stage.preset}.yaml"]
    experiment_file, network_file = published if own else ("", "")
    reference = _flat(
        to_dict(load_experiment(experiment_file))
        | to_dict(load_network(network_file, "" if own else f"policy {policy}"))
    )
    columns = []
    for run in runs.values():
        experiment, network = stage.configs(run)
        columns.append(_flat(to_dict(load_experiment(experiment)) | to_dict(load_network(network))))
    rows = [
        [key, value, *(column[key] for column in columns)]
        for key, value in reference.items()
        if any(column[key] != value for column in columns)
    ]
    return ["key", "published" if own else "default", *runs], rows


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as text under dotted keys."""
    values: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            values |= _flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = _text(value)
    return values


def _text(value: Any) -> str:
    if value is None or value == "":
        return ABSENT
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or ABSENT
    return json.dumps(value) if isinstance(value, Mapping) else str(value)
