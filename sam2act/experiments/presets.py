"""Presets: pairs of yaml files of one name, found in the folder of configurations.

`configs/NAME.yaml` says how to train, `configs/mvt/NAME.yaml` what. A section `preset` of the first
file, which `base` hands down, says what belongs to the pair as a whole:

    preset:
      first_stage: tiny                  # the preset whose training comes before; none by default
      task_files: tasks/tiny_TASK.yaml   # values of single tasks; of several names the first
                                         # that exists
      images: all                        # it learns from every frame of the demonstrations, with
                                         # images of the size in its file; by default keyframes

PRESET@EXECUTOR is the same training, evaluated with an executor of choice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sam2act.config.files import (
    PRESET,
    config_folders,
    find_config,
    read_preset,
    read_with_bases,
)
from sam2act.config.load import load_experiment, load_network
from sam2act.core.described import check_described
from sam2act.core.errors import ConfigError, require_choice
from sam2act.core.registry import EXECUTORS

NETWORKS = "mvt"  # folder of the network files
TASK = "TASK"  # stands for the name of a task
AT = "@"  # between a preset and an executor
KEYFRAMES, ALL = "keyframes", "all"  # which images demonstrations hold, as `sam2act demos` says it
SECTION = ("first_stage", "task_files", "images")  # keys of the section
RECORDED = "rlbench"  # the source of demonstrations as `sam2act demos` records them
FULL_VIEWS = 128  # pixels per side from which views are those of full-size networks
FULL_IMAGES, SMALL_IMAGES = 128, 64  # pixels per side of the cameras


@dataclass(frozen=True)
class Preset:
    """What the section `preset` says of the files `NAME.yaml`, and who executes its actions.

    Attributes:
        name: of the files.
        first_stage: the preset whose training comes before; empty = none.
        task_files: names of yaml files with values of single tasks.
        images: of the demonstrations: `keyframes`, or `all` for policies of frames.
        image_size: pixels per side of the cameras; 0 = the same as for other presets.
        executor: of the evaluations; empty = as the policy says.
    """

    name: str
    first_stage: str = ""
    task_files: str = ""
    images: str = KEYFRAMES
    image_size: int = 0
    executor: str = ""

    def __post_init__(self) -> None:
        if self.first_stage == self.name:
            raise ConfigError(f"configs/{self.name}.yaml: {PRESET}.first_stage names itself")
        require_choice(f"{PRESET}.images", self.images, (KEYFRAMES, ALL))

    @property
    def label(self) -> str:
        """As it is called on the command line."""
        return f"{self.name}{self._executed(self.executor)}"

    @property
    def mark(self) -> str:
        """What names of files have behind that of the preset: its executor, in plain letters."""
        return self._executed(re.sub(r"[^\w.=-]+", "_", self.executor).strip("_"))

    @staticmethod
    def _executed(executor: str) -> str:
        return f"{AT}{executor}" if executor else ""

    @property
    def of_frames(self) -> bool:
        """Whether it learns from every frame and acts at frame rate; else from keyframes."""
        return self.images == ALL

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
    """All presets that learn from demonstrations of the embedded simulator."""
    found = {
        file.stem
        for folder in config_folders()
        for file in folder.glob("*.yaml")
        if (folder / NETWORKS / file.name).is_file()
    }
    return sorted(name for name in found if _source(name) == RECORDED)


def _source(name: str) -> str:
    """The kind of data that a preset learns from."""
    try:
        layers = read_with_bases(find_config(f"{name}.yaml"))
    except ConfigError:  # told where the preset is chosen
        return RECORDED
    found = [str(values["source"]) for _, values in layers if "source" in values]
    return found[-1] if found else RECORDED


def choose_presets(patterns: Sequence[str]) -> list[Preset]:
    """The presets of these names or patterns such as `tiny*`, each once, in this order.

    What follows an @ is the executor of their evaluations: `tiny_cogact@open_loop(8)`.

    Raises:
        ConfigError: a name fits none, there is no such executor, or a first stage is itself a
            second one.
    """
    names = preset_names()
    presets: list[Preset] = []
    for pattern in patterns:
        name, at, executor = pattern.partition(AT)
        if at:
            check_described(EXECUTORS, executor, example="open_loop(k=8)")
        found = [preset for preset in names if fnmatchcase(preset, name)]
        if not found:
            raise ConfigError(f"--presets {pattern}: {_why_none(name, names)}")
        executor = "".join(executor.split())
        chosen = [replace(read(preset), executor=executor) for preset in found]
        presets += [preset for preset in chosen if preset not in presets]
    for preset in presets:
        if preset.first_stage and read(preset.first_stage).first_stage:
            raise ConfigError(
                f"configs/{preset.name}.yaml: {PRESET}.first_stage {preset.first_stage} is itself "
                "a second stage; name the preset of a first one"
            )
    return presets


def _why_none(name: str, names: Sequence[str]) -> str:
    pair = f"configs/{name}.yaml and configs/{NETWORKS}/{name}.yaml"
    if _exists(f"{name}.yaml") and _exists(f"{NETWORKS}/{name}.yaml"):
        return (
            f"{pair} learn from source {_source(name)}, and demonstrations are recorded in the "
            "embedded simulator; train it with `sam2act train`"
        )
    return f"no pair of {pair}; there are {', '.join(names)}"


def read(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: one of its files does not exist, or its section has an unknown key.
    """
    file = find_config(f"{name}.yaml")
    find_config(Path(NETWORKS, f"{name}.yaml"))
    values = read_preset(file)
    unknown = [key for key in values if key not in SECTION]
    if unknown:
        raise ConfigError(
            f"{file}: unknown key {PRESET}.{unknown[0]}; there are {', '.join(SECTION)}"
        )
    given: dict[str, Any] = {key: str(value) for key, value in values.items()}
    preset = Preset(name, **given)
    if not preset.of_frames:
        return preset
    return replace(preset, image_size=load_experiment(str(file)).image_size)


def image_size(presets: Sequence[Preset]) -> int:
    """Pixels per side of the cameras for all presets of keyframes: fewer where all of their views
    are small."""
    networks = [
        load_network(f"configs/{NETWORKS}/{preset.name}.yaml")
        for preset in presets
        if not preset.image_size
    ]
    widest = max((getattr(network, "img_size", FULL_VIEWS) for network in networks), default=0)
    return FULL_IMAGES if widest >= FULL_VIEWS else SMALL_IMAGES
