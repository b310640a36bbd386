"""Merging defaults, yaml files and `"key value ..."` strings into the dataclasses of `schema`.

This is the only module that knows yacs.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yacs.config import CfgNode

from sam2act.config.schema import ConfigError, ExperimentConfig, NetworkConfig

Section = TypeVar("Section", ExperimentConfig, NetworkConfig)


# ---------------------------------------------------------------------------------- public API
def load_experiment(
    path: str | Path = "", opts: str = "", task_path: str | Path = ""
) -> ExperimentConfig:
    """Experiment config: defaults < yaml file at `path` < section `experiment` of the yaml file at
    `task_path` < `opts` (`"key value key value"`).

    Raises:
        ConfigError: the file or a key does not exist, or a value is malformed or impossible.
    """
    return _load(ExperimentConfig, path, opts, task_path)


def load_network(
    path: str | Path = "", opts: str = "", task_path: str | Path = ""
) -> NetworkConfig:
    """Network config, merged like `load_experiment` (section `network` of the task file);
    `feat_dim` follows from `num_rot`."""
    network = _load(NetworkConfig, path, opts, task_path)
    return dataclasses.replace(network, feat_dim=3 * network.num_rot + 4)


def dump(config: ExperimentConfig | NetworkConfig) -> str:
    """The config as yaml text that `load_experiment` / `load_network` read back unchanged."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain nested dictionaries and lists."""
    return {key: _plain(value) for key, value in dataclasses.asdict(config).items()}


def from_dict(section: type[Section], values: Mapping[str, Any]) -> Section:
    """The inverse of `to_dict`; keys that are absent take their defaults."""
    tree = _default_tree(section)
    _merge(tree, values, "the stored configuration")
    return _to_dataclass(section, tree)


def changed(config: Section, opts: str) -> Section:
    """`config` with `"key value key value"` merged into it.

    Raises:
        ConfigError: a key does not exist, or a value is malformed or impossible.
    """
    section = type(config)
    tree = _default_tree(section)
    _merge(tree, to_dict(config), "the stored configuration")
    _merge(tree, _parse_opts(opts), "the command line")
    return _to_dataclass(section, tree)


def find_config(path: str | Path) -> Path:
    """The yaml file a user means by `path`.

    Tried in this order: as given; below the project's `configs/`; a leading `mvt/configs/` (the
    place in the released code) read as `configs/mvt/`.

    Raises:
        ConfigError: none of these files exists; the message lists them.
    """
    path = Path(path)
    tried = [path]
    for folder in config_folders():
        relative = path.relative_to("configs") if path.parts[:1] == ("configs",) else path
        if path.parts[:2] == ("mvt", "configs"):
            relative = Path("mvt", *path.parts[2:])
        tried.append(folder / relative)
    for candidate in tried:
        if candidate.is_file():
            return candidate
    raise ConfigError(f"no config file {path}; looked for {', '.join(map(str, tried))}")


def config_folders() -> list[Path]:
    """Folders that hold the shipped yaml files: a checkout's `configs/`, the installed copy."""
    package = Path(__file__).resolve().parent.parent
    return [
        folder
        for folder in (package.parent / "configs", package / "default_configs")
        if folder.is_dir()
    ]


# ------------------------------------------------------------------------------------- merging
TASK_SECTIONS = {ExperimentConfig: "experiment", NetworkConfig: "network"}


def _load(section: type[Section], path: str | Path, opts: str, task_path: str | Path) -> Section:
    tree = _default_tree(section)
    if str(path):
        file = find_config(path)
        _merge(tree, _read_mapping(file), str(file))
    if str(task_path):
        file = find_config(task_path)
        parts = _read_mapping(file)
        unknown = set(parts) - set(TASK_SECTIONS.values())
        if unknown:
            raise ConfigError(f"{file}: unknown section {', '.join(sorted(unknown))}")
        _merge(tree, parts.get(TASK_SECTIONS[section]) or {}, str(file))
    _merge(tree, _parse_opts(opts), "the command line")
    return _to_dataclass(section, tree)


def _read_mapping(file: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not valid yaml: {error}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{file} must hold `key: value` lines, got {type(values).__name__}")
    return values


def _parse_opts(opts: str) -> dict[str, Any]:
    words = opts.split()
    if len(words) % 2:
        raise ConfigError(
            f"opts need `key value` pairs, got {len(words)} words in {opts!r}; values cannot "
            "contain spaces: write lists as [0.1,0.1,0.1], and paths with spaces in a yaml file"
        )
    values: dict[str, Any] = {}
    for key, value in zip(words[::2], words[1::2], strict=True):
        node = values
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return values


def _merge(tree: CfgNode, values: Mapping[str, Any], origin: str, prefix: str = "") -> None:
    """Merge `values` into `tree`; unknown keys and type mismatches become `ConfigError`."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in tree:
            guesses = difflib.get_close_matches(str(key), list(tree), n=3)
            hint = f"; did you mean {' or '.join(guesses)}?"
            if not guesses:
                hint = f"; {prefix.rstrip('.') or 'there'} has {', '.join(sorted(tree))}"
            raise ConfigError(f"{origin}: unknown key {name}{hint}")
        if isinstance(tree[key], CfgNode):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{origin}: {name} is a section, got the value {value!r}")
            _merge(tree[key], value, origin, f"{name}.")
            continue
        wanted = _as_default_type(value, tree[key])
        try:
            tree.merge_from_list([key, wanted])
        except (ValueError, AssertionError) as error:
            kind = type(tree[key]).__name__
            raise ConfigError(f"{origin}: {name}: expected {kind}, got {wanted!r}") from error


def _as_default_type(value: Any, default: Any) -> Any:
    """`value` evaluated as yacs does, with integers accepted where floats are expected.

    PyYAML reads `1e-4` as a string; yacs evaluates it, and so must this.
    """
    value = CfgNode._decode_cfg_value(value)
    if value is None and isinstance(default, str):
        return ""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, list) and isinstance(value, str):
        value = [item.strip() for item in value.strip("[]()").split(",") if item.strip()]
    if isinstance(default, list) and isinstance(value, (list, tuple)):
        return [_as_default_type(item, default[0]) if default else item for item in value]
    if isinstance(default, str) and isinstance(value, (int, float)):
        return str(value)
    if isinstance(default, str) and isinstance(value, (list, tuple)):
        return ",".join(map(str, value))  # `tasks: [a, b]` means `tasks: a,b`
    return value


# ------------------------------------------------------------------------- dataclass <-> CfgNode
def _default_tree(section: type) -> CfgNode:
    tree = CfgNode()
    hints = typing.get_type_hints(section)
    for item in dataclasses.fields(section):
        if dataclasses.is_dataclass(hints[item.name]):
            tree[item.name] = _default_tree(typing.cast(type, hints[item.name]))
        else:
            tree[item.name] = _plain(item.default)
    return tree


def _to_dataclass(section: type, tree: CfgNode) -> Any:
    hints = typing.get_type_hints(section)
    values = {}
    for item in dataclasses.fields(section):
        value = tree[item.name]
        if isinstance(value, CfgNode):
            value = _to_dataclass(typing.cast(type, hints[item.name]), value)
        values[item.name] = tuple(value) if isinstance(value, list) else value
    return section(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
