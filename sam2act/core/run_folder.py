"""Where the files of a training run lie: one folder, which the two stages of training share.

    exp_cfg.yaml  mvt_cfg.yaml  args.yaml                      configs, arguments
    metrics.csv  costs.json                                    figures; parameters, memory, time
    model_0.pth  model_1.pth ...  model_last.pth  model_best.pth
    eval/                                                      evaluations

The files of stage 2 have `_plus` in their names. Which stage a checkpoint is of stands in the file
itself, under `extra.stage`; of files that lack the entry, such as released ones, the name tells it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES = (1, 2)
IMAGINED = "imagined"  # files of `sam2act imagine`, without their ends
CHECKPOINTS = "model_*.pth"  # of both stages
_SUFFIXES = {1: "", 2: "_plus"}
_WORD_OF_STAGE_TWO = "plus"


def stage_of(checkpoint: Path, content: Mapping[str, Any]) -> int:
    """The stage of training that wrote a checkpoint with this content."""
    stage = (content.get("extra") or {}).get("stage")
    if stage in STAGES:
        return int(stage)
    return 2 if _WORD_OF_STAGE_TWO in checkpoint.stem else 1


@dataclass(frozen=True)
class RunFolder:
    """Paths of one stage of a run; nothing needs to exist."""

    folder: Path
    stage: int = 1

    @classmethod
    def of(cls, checkpoint: Path, content: Mapping[str, Any]) -> RunFolder:
        """The folder around a checkpoint with this content."""
        return cls(checkpoint.parent, stage_of(checkpoint, content))

    @property
    def experiment(self) -> Path:
        """The experiment config."""
        return self._named("exp_cfg{}.yaml")

    @property
    def network(self) -> Path:
        """The network config."""
        return self._named("mvt_cfg{}.yaml")

    @property
    def arguments(self) -> Path:
        """The arguments of the command line."""
        return self._named("args{}.yaml")

    @property
    def metrics(self) -> Path:
        """The table of figures."""
        return self._named("metrics{}.csv")

    @property
    def costs(self) -> Path:
        """Parameters, memory and time of the training."""
        return self._named("costs{}.json")

    @property
    def events(self) -> Path:
        """The folder of tensorboard's files."""
        return self.folder / _SUFFIXES[self.stage].strip("_")

    @property
    def evaluations(self) -> Path:
        """The folder of evaluations, of both stages."""
        return self.folder / "eval"

    @property
    def last(self) -> Path:
        """The checkpoint that a resume continues from."""
        return self.checkpoint("last")

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest loss on held-out samples."""
        return self.checkpoint("best")

    def checkpoint(self, which: int | str) -> Path:
        """The checkpoint of an epoch (counted from 0), `last` or `best`."""
        return self._named(f"model{{}}_{which}.pth")

    def newest(self) -> Path | None:
        """The last checkpoint, else that of the last epoch; None without either."""
        if self.last.is_file():
            return self.last
        epochs = epochs_beside(self.last)
        return epochs[max(epochs)] if epochs else None

    def _named(self, name: str) -> Path:
        return self.folder / name.format(_SUFFIXES[self.stage])


def epochs_beside(checkpoint: Path) -> dict[int, Path]:
    """Epoch -> checkpoint of the same run and stage in the same folder."""
    prefix = re.sub(r"_(last|best|\d+)$", "", checkpoint.stem)
    pattern = re.compile(rf"{re.escape(prefix)}_(\d+)\.pth")
    found = {}
    for path in checkpoint.parent.glob("*.pth"):
        match = pattern.fullmatch(path.name)
        if match:
            found[int(match.group(1))] = path
    return found
