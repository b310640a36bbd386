"""What a policy of dense actions learns from: windows of another source, checked beforehand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.actions import EE_POSE
from sam2act.core.errors import ConfigError
from sam2act.core.registry import SOURCES
from sam2act.core.specs import (
    ROBOT_STATE,
    TIME,
    LanguageSpec,
    PolicySpec,
    SpecError,
    square_cameras,
)
from sam2act.core.types import WindowBatch
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.run_data import build_training_data
from sam2act.training.stores import DataOptions, open_stores
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, write_synthetic_task
from tests.data.toy_source import HEIGHT, LENGTH, RAW, SIDE

SPEC = PolicySpec(
    camera_specs=square_cameras(("front",), SIDE, depth=False),
    language=None,
    state=(HEIGHT, TIME),
    action=dataclasses.replace(RAW, horizon=4),
    offsets=(-1, 0),
)


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    """The toy source, registered as a plug-in does."""
    with SOURCES.temporarily(toy="tests.data.toy_source:ToySource"):
        yield


@pytest.fixture
def world() -> DistributedContext:
    return DistributedContext(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def experiment(tmp_path: Path) -> ExperimentConfig:
    """Two episodes of a toy to train on, one held out."""
    plain = ExperimentConfig()
    return dataclasses.replace(
        plain,
        source="toy",
        tasks=("stack",),
        demo=2,
        bs=6,
        data_folder=str(tmp_path / "data"),
        store_folder=str(tmp_path / "store"),
        validation=dataclasses.replace(plain.validation, demo=1, demo_start=2, split="train"),
    )


def test_batches_are_windows_in_the_form_of_the_policy(
    experiment: ExperimentConfig, world: DistributedContext
) -> None:
    data = build_training_data(experiment, SPEC, world, DataOptions())
    first, again = (next(data.training(7, 1)) for _ in range(2))
    assert isinstance(first, WindowBatch) and first.identities == again.identities
    assert first.observed.rgb.shape == (6, 2, 1, SIDE, SIDE, 3)
    assert first.observed.cameras == ("front",)
    assert first.action.shape == (6, 4, 2) and first.valid.shape == (6, 4)
    assert {identity.episode for identity in first.identities} == {0, 1}
    assert set(data.fingerprints) == {"stack"}


def test_held_out_windows_and_no_language(
    experiment: ExperimentConfig, world: DistributedContext
) -> None:
    data = build_training_data(experiment, SPEC, world, DataOptions())
    assert torch.equal(data.language, torch.zeros(2, 1, 1))
    assert data.validation is not None and data.validation.count == LENGTH // 4
    ((numbers, batch),) = data.validation.batches()
    assert numbers.tolist() == [0, 1, 2]
    assert [(i.episode, i.frame) for i in batch.identities] == [(2, 0), (2, 4), (2, 8)]
    assert batch.instruction.tolist() == [0, 0, 0]  # that of episode 0


def test_language_has_the_size_of_the_spec(
    experiment: ExperimentConfig, world: DistributedContext
) -> None:
    hashed = dataclasses.replace(experiment.language, encoder="hashed")
    experiment = dataclasses.replace(experiment, language=hashed)
    spec = dataclasses.replace(SPEC, language=LanguageSpec("hashed", 3, 5))
    language = build_training_data(experiment, spec, world, DataOptions()).language
    assert language.shape == (2, 3, 5) and not torch.equal(language[0], language[1])


def test_transforms_change_training_and_held_out_batches(
    experiment: ExperimentConfig, world: DistributedContext
) -> None:
    def halved(batch: WindowBatch, seeds: torch.Tensor | None) -> WindowBatch:
        given = torch.full((len(batch), 1), -1) if seeds is None else seeds[:, None]
        return dataclasses.replace(batch, action=given)

    data = build_training_data(experiment, SPEC, world, DataOptions(), halved)
    assert len(set(next(data.training(0, 1)).action.flatten().tolist())) == 6
    assert data.validation is not None
    assert all((batch.action == -1).all() for _, batch in data.validation.batches())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"camera_specs": square_cameras(("top",), SIDE, depth=False)},
            "camera top, data gives front",
        ),
        (
            {"camera_specs": square_cameras(("front",), 8, depth=False)},
            "8 x 8 pixels of front, data",
        ),
        ({"camera_specs": square_cameras(("front",), SIDE, depth=True)}, "data gives rgb only"),
        ({"state": ROBOT_STATE}, "policy wants state gripper_open, data gives height"),
        ({"action": EE_POSE}, "policy acts at 20 Hz, data holds 10 Hz"),
        ({"action": dataclasses.replace(RAW, mode="joint")}, "mode joint, data holds raw, ee_pose"),
    ],
)
def test_what_does_not_fit_is_told_before_a_store_is_built(
    experiment: ExperimentConfig, world: DistributedContext, changes: dict, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        open_stores(experiment, dataclasses.replace(SPEC, **changes), world, DataOptions())
    assert not Path(experiment.store_folder).exists()


def test_keyframe_policies_take_the_state_of_keyframes(
    experiment: ExperimentConfig, world: DistributedContext
) -> None:
    spec = PolicySpec(square_cameras(CAMERAS, IMAGE_SIZE, depth=True), None, state=(TIME,))
    with pytest.raises(SpecError, match="policy wants time, data of keyframes give gripper_open"):
        open_stores(dataclasses.replace(experiment, source="rlbench"), spec, world, DataOptions())


def test_replays_as_source_need_their_folder(
    experiment: ExperimentConfig, world: DistributedContext
) -> None:
    spec = PolicySpec(square_cameras(CAMERAS, IMAGE_SIZE, depth=True), None)
    with pytest.raises(ConfigError, match="source: peract_replay needs replay_folder"):
        open_stores(
            dataclasses.replace(experiment, source="peract_replay"), spec, world, DataOptions()
        )


def test_unknown_source_lists_the_known_ones(experiment: ExperimentConfig) -> None:
    with pytest.raises(ConfigError, match="source: 'rlbrench' .*did you mean rlbench"):
        dataclasses.replace(experiment, source="rlbrench")


def test_windows_of_recorded_demonstrations(
    experiment: ExperimentConfig, world: DistributedContext, tmp_path: Path
) -> None:
    """Colour, recorded poses as actions, no workspace to check; one store for both parts."""
    write_synthetic_task(tmp_path / "data", task="stack", episodes=3, images="all")
    spec = PolicySpec(
        square_cameras(CAMERAS, IMAGE_SIZE, depth=False), None, action=EE_POSE, crop=True
    )
    experiment = dataclasses.replace(experiment, source="rlbench")
    data = build_training_data(experiment, spec, world, DataOptions())
    batch = next(data.training(0, 1))
    assert batch.observed.rgb.shape == (6, len(CAMERAS), IMAGE_SIZE, IMAGE_SIZE, 3)
    assert batch.observed.proprioception.shape == (6, 4) and batch.observed.depth is None
    assert batch.action.shape == (6, 1, 8)
    folders = {p.parent.name for p in (tmp_path / "store").rglob("index.json")}
    assert folders == {"stack"} and (tmp_path / "store" / "dense" / "train" / "stack").is_dir()
