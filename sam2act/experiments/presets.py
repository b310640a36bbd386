"""Presets: pairs of yaml files of one name, found in the folder of configurations.

`configs/NAME.yaml` says how to train, `configs/mvt/NAME.yaml` what. A section `preset` of the first
file, which `base` hands down, says what belongs to the pair as a whole:

    preset:
      first_stage: tiny                  # the preset whose training comes before; none by default
      task_files: tasks/tiny_TASK.yaml   # values of single tasks; of several names the first
                                         # that exists
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

from sam2act.config.files import PRESET, config_folders, find_config, read_preset
from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError

NETWORKS = "mvt"  # folder of the network files
TASK = "TASK"  # stands for the name of a task
FULL_VIEWS = 128  # pixels per side from which views are those of full-size networks
FULL_IMAGES, SMALL_IMAGES = 128, 64  # pixels per side of the cameras


@dataclass(frozen=True)
class Preset:
    """What the section `preset` says of the files `NAME.yaml`."""

    name: str
    first_stage: str = ""
    task_files: str = ""

    def __post_init__(self) -> None:
        if self.first_stage == self.name:
            raise ConfigError(f"configs/{self.name}.yaml: {PRESET}.first_stage names itself")

    @property
    def stage(self) -> int:
        """Which stage of training the preset is of."""
        return 2 if self.first_stage else 1

    def task_file(self, task: str) -> str:
        """The yaml file with values for a task; empty if there is none."""
        names = self.task_files.replace(TASK, task).split()
        return next((f"configs/{name}" for name in names if _exists(name)), "")


def _exists(name: str) -> bool:
    try:
        return find_config(name).is_file()
    except ConfigError:
        return False


def preset_names() -> list[str]:
    """All presets that there are."""
    found = {
        file.stem
        for folder in config_folders()
        for file in folder.glob("*.yaml")
        if (folder / NETWORKS / file.name).is_file()
    }
    return sorted(found)


def choose_presets(patterns: Sequence[str]) -> list[Preset]:
    """The presets of these names or patterns such as `tiny*`, each once, in this order.

    Raises:
        ConfigError: a name fits none, or a first stage is itself a second one.
    """
    names = preset_names()
    chosen: list[str] = []
    for pattern in patterns:
        fitting = [name for name in names if fnmatchcase(name, pattern)]
        if not fitting:
            raise ConfigError(
                f"--presets {pattern}: no pair of configs/{pattern}.yaml and "
                f"configs/{NETWORKS}/{pattern}.yaml; there are {', '.join(names)}"
            )
        chosen += [name for name in fitting if name not in chosen]
    presets = [read(name) for name in chosen]
    for preset in presets:
        if preset.first_stage and read(preset.first_stage).first_stage:
            raise ConfigError(
                f"configs/{preset.name}.yaml: {PRESET}.first_stage {preset.first_stage} is itself "
                "a second stage; name the preset of a first one"
            )
    return presets


def read(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: one of its files does not exist, or its section has an unknown key.
    """
    file = find_config(f"{name}.yaml")
    find_config(Path(NETWORKS, f"{name}.yaml"))
    values = read_preset(file)
    known = [field.name for field in fields(Preset)][1:]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ConfigError(
            f"{file}: unknown key {PRESET}.{unknown[0]}; there are {', '.join(known)}"
        )
    return Preset(name, **{key: str(value) for key, value in values.items()})


def image_size(presets: Sequence[Preset]) -> int:
    """Pixels per side of the cameras for all of these presets: fewer where all views are small."""
    networks = [load_network(f"configs/{NETWORKS}/{preset.name}.yaml") for preset in presets]
    widest = max(getattr(network, "img_size", FULL_VIEWS) for network in networks)
    return FULL_IMAGES if widest >= FULL_VIEWS else SMALL_IMAGES
