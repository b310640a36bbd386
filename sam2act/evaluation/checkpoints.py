"""Which checkpoints of a run are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sam2act.core.errors import UserError
from sam2act.core.files import natural_order
from sam2act.core.run_folder import CHECKPOINTS


class CheckpointChoiceError(UserError):
    """No checkpoint of that name; the message lists those that are there."""


def find_checkpoints(folder: Path, names: Sequence[str]) -> list[Path]:
    """Files of a run folder by name or pattern, in natural order within a pattern.

    Args:
        folder: of the run.
        names: file names, patterns such as `model_plus_*.pth`, or `all`.

    Raises:
        CheckpointChoiceError: a name fits no file.
    """
    if not folder.is_dir():
        raise CheckpointChoiceError(f"--model-folder {folder}: no such folder")
    found: list[Path] = []
    for name in names:
        if not name or Path(name).name != name:
            raise CheckpointChoiceError(
                f"--model-name {name!r}: a file name in --model-folder, not a path"
            )
        pattern = CHECKPOINTS if name == "all" else name
        fitting = sorted(folder.glob(pattern), key=natural_order)
        if not fitting:
            there = ", ".join(
                path.name for path in sorted(folder.glob(CHECKPOINTS), key=natural_order)
            )
            raise CheckpointChoiceError(
                f"--model-name {name}: no such checkpoint in {folder}; "
                + (f"it holds {there}" if there else f"it holds no {CHECKPOINTS}; train first")
            )
        found += [path for path in fitting if path not in found]
    return found
