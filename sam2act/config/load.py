"""Merging defaults, yaml files and `"key value ..."` strings into the dataclasses of `schema`.

This is the only module that knows yacs.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yacs.config import CfgNode

from sam2act.config.files import find_config, read_mapping
from sam2act.config.network import NetworkConfig
from sam2act.config.schema import ExperimentConfig
from sam2act.config.values import WEIGHTS, read_value, unquoted
from sam2act.core.errors import ConfigError
from sam2act.core.weights import named_beside

# A word of `opts`: spaces may stand inside brackets or quotation marks.
WORD = re.compile(r"""(?:\[[^][]*\]|\([^()]*\)|'[^']*'|"[^"]*")(?!\S)|\S+""")
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
    _merge(tree, section, values, "the stored configuration")
    return _to_dataclass(section, tree)


def keys_of(file: Path) -> set[str]:
    """The dotted keys that a yaml file names.

    Raises:
        ConfigError: the file is no yaml mapping.
    """
    return set(flat(read_mapping(file)))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def changed(config: Section, opts: str) -> Section:
    """`config` with `"key value key value"` merged into it.

    Raises:
        ConfigError: a key does not exist, or a value is malformed or impossible.
    """
    section = type(config)
    tree = _default_tree(section)
    _merge(tree, section, to_dict(config), "the stored configuration")
    _merge_opts(tree, section, opts)
    return _to_dataclass(section, tree)


# ------------------------------------------------------------------------------------- merging
TASK_SECTIONS = {ExperimentConfig: "experiment", NetworkConfig: "network"}


def _load(section: type[Section], path: str | Path, opts: str, task_path: str | Path) -> Section:
    tree = _default_tree(section)
    if str(path):
        file = find_config(path)
        _merge(tree, section, read_mapping(file), file)
    if str(task_path):
        file = find_config(task_path)
        parts = read_mapping(file)
        unknown = set(parts) - set(TASK_SECTIONS.values())
        if unknown:
            raise ConfigError(f"{file}: unknown section {', '.join(sorted(unknown))}")
        name = TASK_SECTIONS[section]
        _merge_section(tree, section, parts.get(name, ""), file, name)
    _merge_opts(tree, section, opts)
    return _to_dataclass(section, tree)


def _merge_opts(tree: CfgNode, section: type, opts: str) -> None:
    words = WORD.findall(opts)
    if len(words) % 2:
        raise ConfigError(
            f"opts need `key value` pairs, got {len(words)} words in {opts!r}; a value with spaces "
            "needs quotation marks or, as a list, brackets: [0.1, 0.1, 0.1]"
        )
    for key, text in zip(words[::2], words[1::2], strict=True):
        value: Any = unquoted(text)
        for part in reversed(key.split(".")):
            value = {part: value}
        _merge(tree, section, value, "the command line")


def _merge(
    tree: CfgNode,
    section: type,
    values: Mapping[str, Any],
    origin: str | Path,
    prefix: str = "",
) -> None:
    """Merge `values` into `tree`, read by the annotations of `section`.

    Raises:
        ConfigError: a key is unknown, or its value does not fit it; `origin` is named.
    """
    hints = typing.get_type_hints(section, include_extras=True)
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            raise ConfigError(f"{origin}: unknown key {name}{_hint(key, prefix, hints)}")
        if dataclasses.is_dataclass(hints[key]):
            _merge_section(tree[key], typing.cast(type, hints[key]), value, origin, name)
            continue
        try:
            tree.merge_from_list([key, read_value(value, hints[key])])
        except ValueError as error:
            raise ConfigError(f"{origin}: {name}: {error}") from error
        if isinstance(origin, Path) and WEIGHTS in typing.get_args(hints[key]):
            tree[key] = named_beside(origin, tree[key])


def _merge_section(
    tree: CfgNode, section: type, values: Any, origin: str | Path, name: str
) -> None:
    """Merge what stands below the key `name`; a key without anything below it changes nothing."""
    if values == "":
        return
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin}: {name} is a section, got the value {values!r}")
    in_task_file = name in TASK_SECTIONS.values()
    _merge(tree, section, values, origin, "" if in_task_file else f"{name}.")


def _hint(key: str, prefix: str, known: Mapping[str, Any]) -> str:
    """The keys that were meant: of a like name here, of this name in another section, or all."""
    guesses = difflib.get_close_matches(str(key), known, n=3) or _same_name_elsewhere(str(key))
    if guesses:
        return f"; did you mean {' or '.join(guesses)}?"
    return f"; {prefix.rstrip('.') or 'there'} has {', '.join(sorted(known))}"


def _same_name_elsewhere(key: str) -> list[str]:
    """Keys of both configs whose last part is that of `key`."""
    name = key.rpartition(".")[2]
    return [
        f"{dotted} of the {title} config"
        for section, title in TASK_SECTIONS.items()
        for dotted in _dotted(section)
        if dotted.rpartition(".")[2] == name
    ]


def _dotted(section: type, prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, kind in typing.get_type_hints(section).items():
        inner = dataclasses.is_dataclass(kind)
        names += _dotted(typing.cast(type, kind), f"{prefix}{key}.") if inner else [prefix + key]
    return names


# ------------------------------------------------------------------------- dataclass <-> CfgNode
class _Tree(CfgNode):
    """A yacs tree that takes values as they are; yacs would evaluate text as Python."""

    @classmethod
    def _decode_cfg_value(cls, value: Any) -> Any:
        return value


def _default_tree(section: type) -> CfgNode:
    tree = _Tree()
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
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
