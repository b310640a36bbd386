"""What a run reads: stores of demos and of imported replays, and errors before training."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path

import pytest
import torch

from sam2act.config import tasks
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import load_network
from sam2act.config.tasks import task_names
from sam2act.core.errors import UserError
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import StoreError
from sam2act.policies.sam2act.settings import policy_spec
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.run_data import build_training_data
from sam2act.training.stores import DataOptions, open_stores
from tests.data.peract_replay.replay_writer import write_replay
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE
from tests.training import tiny_run

HELD_OUT = "validation.demo 1 validation.demo_start 2 validation.split train"
ELSEWHERE = "scene_bounds [5.0,5.0,5.0,6.0,6.0,6.0]"


@pytest.fixture
def world() -> DistributedContext:
    return DistributedContext(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three demos, of which the run trains on the first two."""
    tiny_run.write_demos(tmp_path)
    return tmp_path


def _write_replay(folder: Path) -> str:
    """A released replay of demos 0 and 1; the option that trains on it."""
    task = task_names(tiny_run.configs(folder)[0])[0]
    request = StoreRequest(
        folder / "demos", folder / "source", demo=2, cameras=CAMERAS, image_size=IMAGE_SIZE
    )
    write_replay(folder / "replays" / task, ensure_store(request, [task], progress=False))
    return f"replay_folder {folder}/replays"


def _open(
    folder: Path, world: DistributedContext, more: str = "", **options
) -> tuple[KeyframeStore, KeyframeStore | None]:
    return _stores(tiny_run.configs(folder, more)[0], world, **options)


def _stores(
    experiment: ExperimentConfig, world: DistributedContext, **options
) -> tuple[KeyframeStore, KeyframeStore | None]:
    """Training and validation store of SAM2Act."""
    spec = policy_spec(experiment, load_network("configs/mvt/tiny.yaml"))
    training, validation = open_stores(experiment, spec, world, DataOptions(**options))
    assert isinstance(training, KeyframeStore) and isinstance(validation, KeyframeStore | None)
    return training, validation


def _origin(store: KeyframeStore) -> str:
    return store.task_stores[0].index["origin"]


def test_replay_and_held_out_demos_of_one_split(
    folder: Path, world: DistributedContext, caplog
) -> None:
    more = f"{_write_replay(folder)} {HELD_OUT}"
    caplog.set_level(logging.INFO)
    caplog.clear()  # of the store that the replay was made from
    for start in range(2):
        training, validation = _open(folder, world, more)
        assert validation is not None
        assert (_origin(training), _origin(validation)) == ("published replay", "demos")
        assert set(training.table["episode"]) == {0, 1}
        assert set(validation.table["episode"]) == {2}
        built = caplog.text.count("importing"), caplog.text.count("building the frame store")
        assert built == (1, 1), f"start {start}"


def test_demos_after_a_replay_are_demos(folder: Path, world: DistributedContext) -> None:
    _open(folder, world, _write_replay(folder))
    assert _origin(_open(folder, world)[0]) == "demos"


def test_label_that_a_replay_lacks_is_a_user_error(folder: Path, world: DistributedContext) -> None:
    more = f"{_write_replay(folder)} peract.collision_label next_keypoint"
    experiment, network = tiny_run.configs(folder, more)
    with pytest.raises(UserError, match=r"peract\.collision_label"):
        build_training_data(experiment, policy_spec(experiment, network), world, DataOptions())


@pytest.mark.parametrize("held_out", ["", HELD_OUT])
def test_bounds_without_points_stop_before_training(
    folder: Path, world: DistributedContext, held_out: str
) -> None:
    for _ in range(2):  # found anew, then remembered
        with pytest.raises(StoreError, match=r"open_drawer: episode 0, frame 0 .*scene_bounds"):
            _open(folder, world, f"{ELSEWHERE} {held_out}")


def test_bounds_do_not_matter_without_cropping(folder: Path, world: DistributedContext) -> None:
    training, _ = _open(folder, world, f"{ELSEWHERE} rvt.move_pc_in_bound False")
    assert len(training.valid)


def test_run_with_wrong_bounds_ends_with_a_message(folder: Path, capsys) -> None:
    assert tiny_run.run(folder, ELSEWHERE) != 0
    assert "scene_bounds" in capsys.readouterr().err


# ------------------------------------------------------------- folders of the released code
def _released(folder: Path, more: str = "") -> ExperimentConfig:
    """The tiny run without any folder named, from `folder` as working directory."""
    experiment = tiny_run.configs(folder, more)[0]
    return dataclasses.replace(experiment, data_folder="", store_folder="store")


def _replay_in_released_place(folder: Path) -> None:
    _write_replay(folder)
    (folder / "replay_temporal").mkdir()
    (folder / "replays").rename(folder / "replay_temporal" / "replay_train")


def test_released_replay_is_found_and_said_so(
    folder: Path, world: DistributedContext, caplog, monkeypatch
) -> None:
    _replay_in_released_place(folder)
    (folder / "demos").rename(folder / "data")
    monkeypatch.chdir(folder)
    caplog.set_level(logging.INFO)
    caplog.clear()
    store, _ = _stores(_released(folder), world)
    assert _origin(store) == "published replay"
    said = [r.getMessage() for r in caplog.records if "replay_temporal" in r.getMessage()]
    assert "replay_folder none" in said[0] and "replay_folder DIR" in said[0]
    store, _ = _stores(_released(folder, "replay_folder none"), world)
    assert _origin(store) == "demos"
    named = _released(folder, f"replay_folder {folder}/replay_temporal")
    assert _origin(_stores(named, world)[0]) == "published replay"


def test_replay_that_lacks_a_task_gives_way_to_demos(
    folder: Path, world: DistributedContext, caplog, monkeypatch
) -> None:
    _replay_in_released_place(folder)
    task = task_names(tiny_run.configs(folder)[0])[0]
    shutil.copytree(folder / "demos" / "train" / task, folder / "demos" / "train" / "close_jar")
    (folder / "demos").rename(folder / "data")
    monkeypatch.chdir(folder)
    caplog.set_level(logging.INFO)
    experiment = _released(folder, f"tasks {task},close_jar")
    store, _ = _stores(experiment, world)
    assert _origin(store) == "demos" and "lacks close_jar" in caplog.text


def test_demos_in_the_package_folder_work_with_a_warning(
    folder: Path, world: DistributedContext, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(tasks, "PACKAGE", folder)
    (folder / "demos").rename(folder / "data")
    monkeypatch.chdir(folder)
    store, _ = _stores(_released(folder), world)
    assert len(store.table)
    (warning,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert warning.startswith("data lies among the source files") and "data_folder" in warning
