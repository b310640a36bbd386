"""Finding and reading yaml files; scalars keep the text that stands in the file."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sam2act.core.errors import ConfigError
from sam2act.core.wording import listing

BASE = "base"  # key that names the file to build upon
PRESET = "preset"  # section of an experiment file about the pair of files that its name stands for
# Every kind of scalar that yaml would turn into something else than its text.
SCALAR_TAGS = ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")


class _TextLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Gives each scalar as the text in the file: `1e3`, `007`, `yes` and `12:30` stay."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Yaml would let the last of two equal keys win without a word."""
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, key) is not key:
                line = first[key.value].start_mark.line + 1
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value}, which line {line} has already, stands again",
                    problem_mark=key.start_mark,
                )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


for _tag in SCALAR_TAGS:
    _TextLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda loader, node: node.value)


def find_config(path: str | Path) -> Path:
    """The yaml file a user means by `path`.

    Tried in this order: as given; below the project's `configs/`; a leading `mvt/configs/` (the
    place in the released code) read as `configs/mvt/`, with or without `sam2act/` before it.

    Raises:
        ConfigError: none of these is a file; the message lists them.
    """
    path = Path(path)
    tried = [path]
    parts = path.parts[1:] if path.parts[:1] == ("sam2act",) else path.parts
    if parts[:2] == ("mvt", "configs"):
        parts = ("mvt", *parts[2:])
    elif parts[:1] == ("configs",):
        parts = parts[1:]
    tried += [folder.joinpath(*parts) for folder in config_folders()]
    for candidate in tried:
        if os.path.isfile(candidate):
            return candidate
    if os.path.isdir(path):
        inside = listing(sorted(file.name for file in path.glob("*.yaml")))
        raise ConfigError(f"{path} is a folder; name a yaml file in it ({inside or 'it has none'})")
    raise ConfigError(f"no config file {path}; looked for {', '.join(map(str, tried))}")


def config_folders() -> list[Path]:
    """Folders that hold the shipped yaml files: a checkout's `configs/`, the installed copy."""
    package = Path(__file__).resolve().parent.parent
    return [
        folder
        for folder in (package.parent / "configs", package / "default_configs")
        if folder.is_dir()
    ]


def read_with_bases(file: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The keys of a yaml file and of all files that it builds upon, the most basic first.

    The key `base` names the next one: beside the file itself, else as `find_config` finds it.

    Raises:
        ConfigError: a file is absent, malformed, or builds upon itself.
    """
    layers = _all_with_bases(file)
    for _, values in layers:
        values.pop(PRESET, None)
    return layers


def read_preset(file: Path) -> dict[str, Any]:
    """The section `preset` of a yaml file, over those of the files that it builds upon.

    Raises:
        ConfigError: as `read_with_bases`; or the section holds no keys.
    """
    found: dict[str, Any] = {}
    for path, values in _all_with_bases(file):
        section = values.get(PRESET) or {}
        if not isinstance(section, Mapping):
            raise ConfigError(f"{path}: {PRESET} is a section, got the value {section!r}")
        found |= section
    return found


def _all_with_bases(file: Path) -> list[tuple[Path, dict[str, Any]]]:
    """As `read_with_bases`, with the section `preset`."""
    layers: list[tuple[Path, dict[str, Any]]] = []
    seen: list[Path] = []
    while True:
        if file.resolve() in seen:
            raise ConfigError(f"{layers[-1][0]}: base: {file} builds upon this file itself")
        seen.append(file.resolve())
        values = dict(read_mapping(file))
        base = values.pop(BASE, "")
        layers.append((file, values))
        if base == "":
            return layers[::-1]
        file = _find_base(base, file)


def _find_base(base: Any, file: Path) -> Path:
    if not isinstance(base, str):
        raise ConfigError(f"{file}: base: name one yaml file, got {base!r}")
    beside = file.parent / base
    if beside.is_file():
        return beside
    try:
        return find_config(base)
    except ConfigError as error:
        raise ConfigError(f"{file}: base: neither {beside} nor another: {error}") from error


def read_mapping(file: Path) -> Mapping[str, Any]:
    """The keys of a yaml file: nested dictionaries and lists whose scalars are text.

    The text is UTF-8, with or without a byte order mark, or UTF-16 with one, whatever the locale.

    Raises:
        ConfigError: the file cannot be read, is no text of these kinds, or no yaml with keys.
    """
    try:
        text = _decoded(file.read_bytes(), file)
        values = yaml.load(text, Loader=_TextLoader) or {}
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not valid yaml: {_one_line(error)}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{file} must hold `key: value` lines, got {type(values).__name__}")
    return values


def _decoded(content: bytes, file: Path) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{file} is not UTF-8 text (byte 0x{content[error.start]:02x} in line {line}); save it "
            "as UTF-8, for example with `iconv -f latin1 -t utf-8`"
        ) from error


def _one_line(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the excerpt that yaml prints over several lines."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return " ".join(f"{problem}{place}".split())
