"""A run folder of the time before the rooms: its files load, and act as they did.

`old_run.tar.xz` holds both stages of a run of version 0.1.0 (commit be43f5d): a very small network,
two updates each, weights rounded to four binary digits so that they pack well, moments of the
optimiser zero. `old_run.json` holds the actions that this commit chose with them.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2act.core.types import Observation
from sam2act.policies.checkpoint import load_policy, read_checkpoint, save_checkpoint
from sam2act.policies.session import KeyframePolicy

HERE = Path(__file__).parent
CAMERAS, SIDE, STEPS, BATCH = 4, 128, 3, 2
FILES = ("model_last.pth", "model_plus_last.pth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked run folder."""
    place = tmp_path_factory.mktemp("old")
    with tarfile.open(HERE / "old_run.tar.xz") as archive:
        archive.extractall(place, filter="data")
    return place / "tiny_old"


def pattern(*sizes: int, step: int) -> Tensor:
    """Whole numbers 0..96 that look random and depend on nothing but the arguments."""
    count = torch.Size(sizes).numel()
    number = torch.arange(count, dtype=torch.int64) + 1009 * step
    return (number * number // 7 % 97).view(sizes)


def observation(step: int) -> Observation:
    """Cameras in a row above the workspace look down on an uneven ground."""
    extrinsics = torch.zeros(BATCH, CAMERAS, 4, 4, dtype=torch.float64)
    extrinsics[..., 0, 0] = extrinsics[..., 3, 3] = 1
    extrinsics[..., 1, 1] = extrinsics[..., 2, 2] = -1
    extrinsics[..., 0, 3] = torch.arange(CAMERAS) / 10
    extrinsics[..., 2, 3] = 2.5
    intrinsics = torch.tensor([[150.0, 0, 64], [0, 150, 64], [0, 0, 1]], dtype=torch.float64)
    return Observation(
        rgb=(2 * pattern(BATCH, CAMERAS, SIDE, SIDE, 3, step=step)).to(torch.uint8),
        depth=1.1 + pattern(BATCH, CAMERAS, SIDE, SIDE, step=step + 50).float() / 160,
        intrinsics=intrinsics.expand(BATCH, CAMERAS, 3, 3),
        extrinsics=extrinsics,
        proprioception=torch.tensor([[1, 0.04, 0.04, 1], [0, 0.01, 0.01, 1]]) - step / 24,
    )


def actions(checkpoint: Path, *, forget: bool = False) -> list[list[list[float]]]:
    """Actions (STEPS, BATCH, 9) for observations and instructions that are always the same."""
    policy = KeyframePolicy.from_checkpoint(checkpoint, validate=False)
    tokens = pattern(BATCH, *policy.spec.language_shape, step=99).float() / 48 - 1
    found = []
    for step in range(STEPS):
        found.append(policy.act(observation(step), tokens).values[:, 0].tolist())
        if forget:
            policy.reset()
    return found


@pytest.mark.parametrize("name", FILES)
def test_checkpoints_act_as_when_they_were_written(folder: Path, name: str) -> None:
    recorded = json.loads((HERE / "old_run.json").read_text(encoding="utf-8"))[name]
    torch.testing.assert_close(
        torch.tensor(actions(folder / name)), torch.tensor(recorded), atol=1e-5, rtol=0
    )


def test_the_second_stage_remembers(folder: Path) -> None:
    """What is compared above depends on the past, too."""
    path = folder / "model_plus_last.pth"
    remembering, forgetting = torch.tensor(actions(path)), torch.tensor(actions(path, forget=True))
    assert torch.equal(remembering[0], forgetting[0])
    assert not torch.equal(remembering[1:], forgetting[1:])


@pytest.mark.parametrize(("name", "stage"), zip(FILES, (1, 2), strict=True))
def test_files_without_entries_of_ours_use_the_yaml_beside_them(
    folder: Path, name: str, stage: int
) -> None:
    content = read_checkpoint(folder / name)
    assert "stage" not in content["extra"]
    bare = folder / name.replace("last", "0")
    save_checkpoint(bare, {"epoch": 0, "model_state": content["model_state"]})
    whole, loaded = load_policy(folder / name), load_policy(bare)
    assert loaded.stage == whole.stage == stage
    assert loaded.network == whole.network and loaded.experiment == whole.experiment
    states = [bundle.policy.state_dict() for bundle in (whole, loaded)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
