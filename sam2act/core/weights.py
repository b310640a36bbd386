"""Where weight files lie: one rule for `sam2_ckpt` and `language.weights_path`.

A file is looked for

1. as given (relative to the working directory),
2. relative to the yaml file that named it,
3. by its base name in the assets folders: the one named by the environment variable
   SAM2ACT_ASSETS, `assets/` of the checkout, `assets/` of the working directory.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from sam2act.core.assets import ASSETS
from sam2act.core.errors import ConfigError

ASSETS_VARIABLE = "SAM2ACT_ASSETS"
DOWNLOAD_SCRIPT = Path("scripts", "download_assets.py")


class WeightsName(str):
    """The value of a weights key with the folder of the yaml file that named it."""

    folder: Path | None = None


def named_beside(yaml_file: Path, value: str) -> str:
    """`value` as a yaml file names it: a path that holds only beside that file becomes absolute,
    any other remembers the folder of the file for later look-ups."""
    folder = yaml_file.resolve().parent
    if value and os.path.isfile(folder / value) and not os.path.isfile(Path(value)):
        return str(folder / value)
    name = WeightsName(value)
    name.folder = folder
    return name


def find_weights(key: str, named: str, otherwise: str) -> Path:
    """The file that the configuration key `key` means by `named`.

    Args:
        key: for the message.
        named: the value of the key, not empty.
        otherwise: what helps beside getting the file, for the message.

    Raises:
        ConfigError: there is none; the message lists every place and a command that gets the file.
    """
    tried = places(named)
    for candidate in tried:
        if os.path.isfile(candidate):
            return candidate
    # os.path answers "no" where a method of Path raises, for example at a name that is too long.
    looked = ", ".join(f"{place}{' (a folder)' if os.path.isdir(place) else ''}" for place in tried)
    raise ConfigError(
        f"{key}: {named} not found; looked for {looked}. {how_to_get(Path(named).name)}, name an "
        f"existing file, or {otherwise}"
    )


def places(named: str) -> list[Path]:
    """Every place where `named` is looked for, in this order, as absolute paths."""
    given = Path(named).expanduser()
    folder = getattr(named, "folder", None)
    candidates = [given, *([folder / given] if folder else [])]
    candidates += [assets / given.name for assets in assets_folders()]
    return list(dict.fromkeys(Path(os.path.abspath(place)) for place in candidates))


def assets_folders(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The folders of downloaded files, the preferred one first."""
    of_user, root = environment.get(ASSETS_VARIABLE, ""), checkout()
    folders = [Path(of_user).expanduser()] if of_user else []
    folders += [root / "assets"] if root else []
    return [*folders, Path("assets")]


def checkout() -> Path | None:
    """The folder that holds this package and its scripts; None in an installed copy."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / DOWNLOAD_SCRIPT).is_file() else None


def how_to_get(file_name: str) -> str:
    """A command for a public file that works in the working directory, and where it puts it."""
    asset = next((entry for entry in ASSETS if entry.place == file_name and entry.url), None)
    if asset is None:
        public = ", ".join(entry.place for entry in ASSETS if entry.url)
        return f"No public file has this name ({public} are public): put it in one of these places"
    folder, root = assets_folders()[0], checkout()
    if root is None:
        target = shlex.quote(os.path.abspath(folder / file_name))
        return f"Get it with `curl -L --create-dirs -o {target} {asset.url}`"
    script = _shortest(root / DOWNLOAD_SCRIPT)
    return f"Get it with `python {script} {asset.name} --output {_shortest(folder)}`"


def _shortest(path: Path) -> str:
    """The path as one types it here: relative or absolute, whichever is shorter."""
    absolute = os.path.abspath(path)
    return shlex.quote(min(os.path.relpath(absolute), absolute, key=len))
