"""Merging defaults, yaml files and `"key value ..."` strings into dataclasses of keys.

This is the only module that knows yacs.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from yacs.config import CfgNode

from sam2act.config.component import WEIGHTS
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.files import find_config, read_with_bases
from sam2act.config.values import read_value, unquoted
from sam2act.core.errors import ConfigError
from sam2act.core.registry import DEFAULT_POLICY, POLICIES
from sam2act.core.weights import WeightsName, named_beside

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# A word of `opts`: spaces may stand inside brackets or quotation marks.
WORD = re.compile(r"""(?:\[[^][]*\]|\([^()]*\)|'[^']*'|"[^"]*")(?!\S)|\S+""")
EXPERIMENT, NETWORK = "experiment", "network"  # the two configurations; sections of task files
POLICY = "policy"  # key of the network file that names the policy
COMMAND_LINE, STORED = "the command line", "the stored configuration"
Section = TypeVar("Section", bound="DataclassInstance")
Layer = tuple[Path | str, Mapping[str, Any]]  # where values stand, and the values


# ---------------------------------------------------------------------------------- public API
def load_experiment(
    path: str | Path = "", opts: str = "", task_path: str | Path = ""
) -> ExperimentConfig:
    """Experiment config: defaults < yaml file at `path` < section `experiment` of the yaml file at
    `task_path` < `opts` (`"key value key value"`).

    Raises:
        ConfigError: the file or a key does not exist, or a value is malformed or impossible.
    """
    return _merged(ExperimentConfig, _layers(EXPERIMENT, path, opts, task_path))


def load_network(path: str | Path = "", opts: str = "", task_path: str | Path = "") -> Any:
    """The `Config` of the policy that the key `policy` names (default: sam2act).

    Files and opts are merged like those of `load_experiment` (section `network` of the task file).
    """
    layers = _layers(NETWORK, path, opts, task_path)
    return _merged(policy_config(_policy_name(layers)), layers)


def policy_config(name: str) -> type[DataclassInstance]:
    """The dataclass that holds the keys of the policy `name`.

    Raises:
        ConfigError: there is no such policy, or it has no dataclass `Config` with the key `policy`.
    """
    config = getattr(POLICIES.get(name), "Config", None)
    if not _is_section(config) or POLICY not in _keys(config):
        raise ConfigError(f"policy: {name} has no `Config`, a dataclass with the field `policy`")
    return config


def dump(config: DataclassInstance) -> str:
    """The config as yaml text that `load_experiment` / `load_network` read back unchanged."""
    text: str = yaml.safe_dump(to_dict(config), sort_keys=False)
    return text


def to_dict(config: DataclassInstance) -> dict[str, Any]:
    """The config as plain nested dictionaries and lists."""
    return {key: _plain(value) for key, value in dataclasses.asdict(config).items()}


def from_dict(section: type[Section], values: Mapping[str, Any]) -> Section:
    """The inverse of `to_dict`; keys that are absent take their defaults."""
    return _merged(section, [(STORED, values)])


def network_from_dict(values: Mapping[str, Any]) -> Any:
    """The inverse of `to_dict` for the `Config` of the policy that `values` name."""
    layers: list[Layer] = [(STORED, values)]
    return _merged(policy_config(_policy_name(layers)), layers)


def keys_of(file: Path) -> set[str]:
    """The dotted keys that a yaml file and those that it builds upon name.

    Raises:
        ConfigError: a file is no yaml mapping.
    """
    return {key for _, values in read_with_bases(file) for key in flat(values)}


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
    return _merged(type(config), [(STORED, to_dict(config)), *_from_opts(opts)])


# -------------------------------------------------------------------------------------- layers
def _layers(kind: str, path: str | Path, opts: str, task_path: str | Path) -> list[Layer]:
    """What is merged over the defaults, in this order."""
    layers: list[Layer] = []
    if str(path):
        layers += read_with_bases(find_config(path))
    if str(task_path):
        layers += [
            (file, _task_section(file, parts, kind))
            for file, parts in read_with_bases(find_config(task_path))
        ]
    return [*layers, *_from_opts(opts)]


def _task_section(file: Path, parts: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    unknown = set(parts) - {EXPERIMENT, NETWORK}
    if unknown:
        raise ConfigError(f"{file}: unknown section {', '.join(sorted(unknown))}")
    return _section_values(parts.get(kind, ""), file, kind)


def _from_opts(opts: str) -> list[Layer]:
    words = WORD.findall(opts)
    if len(words) % 2:
        raise ConfigError(
            f"opts need `key value` pairs, got {len(words)} words in {opts!r}; a value with spaces "
            "needs quotation marks or, as a list, brackets: [0.1, 0.1, 0.1]"
        )
    layers: list[Layer] = []
    for key, text in zip(words[::2], words[1::2], strict=True):
        *sections, last = key.split(".")
        values: dict[str, Any] = {last: unquoted(text)}
        for name in reversed(sections):
            values = {name: values}
        layers.append((COMMAND_LINE, values))
    return layers


def _policy_name(layers: list[Layer]) -> str:
    """The last policy that is named."""
    name = DEFAULT_POLICY
    for origin, values in layers:
        try:
            name = read_value(values.get(POLICY, name), str)
        except ValueError as error:
            raise ConfigError(f"{origin}: {POLICY}: {error}") from error
    return name


# ------------------------------------------------------------------------------------- merging
def _merged(section: type[Section], layers: Sequence[Layer]) -> Section:
    """The defaults of `section` with `layers` over them, checked."""
    tree = _Tree(_plain(dataclasses.asdict(section())))
    for origin, values in layers:
        _merge(tree, section, values, origin)
    return _to_dataclass(section, tree)


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
    hints = _keys(section)
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            raise ConfigError(f"{origin}: unknown key {name}{_hint(key, prefix, hints)}")
        if _is_section(hints[key]):
            below = _section_values(value, origin, name)
            _merge(tree[key], hints[key], below, origin, f"{name}.")
            continue
        if isinstance(tree[key], WeightsName):  # for yacs another type than plain text
            tree[key] = str(tree[key])
        try:
            tree.merge_from_list([key, read_value(value, hints[key])])
        except ValueError as error:
            raise ConfigError(f"{origin}: {name}: {error}") from error
        if isinstance(origin, Path) and WEIGHTS in typing.get_args(hints[key]):
            tree[key] = named_beside(origin, tree[key])


def _section_values(values: Any, origin: str | Path, name: str) -> Mapping[str, Any]:
    """What stands below the key `name`, which may be nothing."""
    if values == "":
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin}: {name} is a section, got the value {values!r}")
    return values


def _hint(key: str, prefix: str, known: Mapping[str, Any]) -> str:
    """The keys that were meant: of a like name here, of this name in another section, or all."""
    guesses = difflib.get_close_matches(str(key), known, n=3) or _same_name_elsewhere(str(key))
    if guesses:
        return f"; did you mean {' or '.join(guesses)}?"
    return f"; {prefix.rstrip('.') or 'there'} has {', '.join(sorted(known))}"


def _same_name_elsewhere(key: str) -> list[str]:
    """Keys of both configs whose last part is that of `key`."""
    name = key.rpartition(".")[2]
    sections: dict[str, type] = {
        EXPERIMENT: ExperimentConfig,
        NETWORK: policy_config(DEFAULT_POLICY),
    }
    return [
        f"{dotted} of the {title} config"
        for title, section in sections.items()
        for dotted in _dotted(section)
        if dotted.rpartition(".")[2] == name
    ]


def _dotted(section: type, prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, kind in _keys(section).items():
        names += _dotted(kind, f"{prefix}{key}.") if _is_section(kind) else [prefix + key]
    return names


def _keys(section: Any) -> dict[str, Any]:
    """The keys of a dataclass and their annotations."""
    hints = typing.get_type_hints(section, include_extras=True)
    return {item.name: hints[item.name] for item in dataclasses.fields(section)}


def _is_section(kind: object) -> typing.TypeGuard[type[DataclassInstance]]:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


# ------------------------------------------------------------------------- dataclass <-> CfgNode
class _Tree(CfgNode):  # type: ignore[misc]  # yacs has no types
    """A yacs tree that takes values as they are; yacs would evaluate text as Python."""

    @classmethod
    def _decode_cfg_value(cls, value: Any) -> Any:
        return value


def _to_dataclass(section: type[Section], tree: CfgNode) -> Section:
    kinds = _keys(section)
    values = {
        key: _to_dataclass(kinds[key], value) if isinstance(value, CfgNode) else _frozen(value)
        for key, value in tree.items()
    }
    return section(**values)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
