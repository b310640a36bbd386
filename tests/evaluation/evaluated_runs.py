"""Writes the files that an evaluation leaves in a run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sam2act.evaluation.results import EpisodeRow, RowWriter, rows_file

CHANCE = {"put_block_back": 0.25, "rearrange_block": 0.5}
VARIATIONS = {"put_block_back": 4, "rearrange_block": 2}
FIRST_SEED = 7000


def episode(task: str, number: int, success: int, **values: Any) -> EpisodeRow:
    """A row; failures are timeouts unless told otherwise."""
    given = {
        "variation": number % VARIATIONS.get(task, 1),
        "seed": number,
        "reward": 100.0 * success,
        "steps": 11 if success else 25,
        "failure": "" if success else "timeout",
        "instruction": "move the block",
        **values,
    }
    return EpisodeRow(task=task, episode=number, success=success, **given)


def episodes(
    outcomes: str, task: str = "put_block_back", seed: int | None = FIRST_SEED
) -> list[EpisodeRow]:
    """A row per letter: 1 success, 0 failure; the scenes are those of a set with this seed."""
    seeds = [None if seed is None else 1000 * seed + number for number in range(len(outcomes))]
    return [
        episode(task, number, int(letter), seed=seeds[number])
        for number, letter in enumerate(outcomes)
    ]


def write_rows(folder: Path, rows: Iterable[EpisodeRow], rank: int = 0) -> Path:
    """The table of one process; the folder."""
    writer = RowWriter(folder / rows_file(rank))
    for row in rows:
        writer.write(row)
    return folder


def write_description(folder: Path, **changes: Any) -> None:
    """`evaluation.json`, with the given parts of it or settings replaced."""
    settings = {
        "backend": "embedded",
        "tasks": ["put_block_back"],
        "data": None,
        "seed": FIRST_SEED,
    }
    settings |= {"eval_episodes": 4, "episode_length": 25, "perturb": [], "strict_order": False}
    settings |= {"exp_cfg_path": "", "mvt_cfg_path": ""}
    content = {
        "format": 1,
        "settings": settings | changes.pop("settings", {}),
        "checkpoint": {"name": f"{folder.name}.pth", "sha256": "0123456789abcdef" * 4, "step": 80},
        "chance": CHANCE,
        "versions": {"sam2act": "0.1.0", "torch": "2.13.0"},
        "machine": "two cores",
        "date": "2026-01-31",
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(content))


def write_evaluation(
    run: Path, stem: str, outcomes: str, log_name: str = "none", **changes: Any
) -> Path:
    """Rows and description of one finished evaluation of put_block_back; its folder."""
    folder = run / "eval" / log_name / stem
    settings = {"eval_episodes": len(outcomes), "seed": FIRST_SEED} | changes.pop("settings", {})
    write_description(folder, settings=settings, **changes)
    return write_rows(folder, episodes(outcomes, seed=settings["seed"]))
