"""RLDS data sets, through a stand-in of tensorflow_datasets: episodes, actions, cameras, errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sam2act.core.actions import EE_DELTA_RPY
from sam2act.core.specs import LanguageSpec, PolicySpec, square_cameras
from sam2act.data.rlds.actions import openings, seven_numbers
from sam2act.data.rlds.source import RLDSSource
from sam2act.data.source import AbsentError, SourceError, SourceRequest
from sam2act.data.store.builder import ensure_tasks, open_tasks
from sam2act.data.store.request import StoreRequest
from sam2act.data.windows import WindowStore

LENGTHS, SIDE = (4, 6), 8


def step(number: int, index: int) -> dict[str, Any]:
    """One step; colours tell where it comes from."""
    action = np.full(7, number + index / 10, np.float32)
    image = np.full((12, 16, 3), 20 * number + index, np.uint8)
    return {
        "observation": {"image": image, "other": np.zeros(3)},
        "action": action,
        "language_instruction": f"task {number}".encode(),
    }


class Builder:
    """What is used of a builder of tensorflow_datasets."""

    def __init__(self, folder: str) -> None:
        content = json.loads((Path(folder) / "dataset_info.json").read_text())
        self.episodes = [[step(n, i) for i in range(x)] for n, x in enumerate(content["lengths"])]
        part = SimpleNamespace(num_examples=len(self.episodes))
        self.info = SimpleNamespace(splits={"train": part})

    def as_dataset(self, split: str) -> Iterator[dict[str, Any]]:
        first, last = map(int, split.removeprefix("train[").removesuffix("]").split(":"))
        return iter({"steps": steps} for steps in self.episodes[first:last])


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tensorflow_datasets")
    module.builder_from_directory = Builder  # type: ignore[attr-defined]
    module.as_numpy = lambda dataset: dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for version, lengths in (("1.0.0", LENGTHS), ("0.9.0", (1,))):
        place = tmp_path / "data" / "custom_finetuning" / version
        place.mkdir(parents=True)
        (place / "dataset_info.json").write_text(json.dumps({"lengths": lengths}))
    return tmp_path


def source(folder: Path, **changes: Any) -> RLDSSource:
    keys = {"split": "train", "task": "custom_finetuning", "cameras": ("primary",)} | changes
    return RLDSSource(SourceRequest(folder / "data", image_size=SIDE, **keys))


def test_episodes_of_the_newest_version(folder: Path) -> None:
    data = source(folder)
    assert list(data.episodes()) == [0, 1]
    assert [data.facts(number).length for number in (0, 1)] == list(LENGTHS)
    assert data.instruction(1) == "task 1"
    image = data.frame(1, 3).rgb["primary"]
    assert image.shape == (SIDE, SIDE, 3) and (image == 23).all()
    np.testing.assert_allclose(data.actions(1)[:, 0], 1 + np.arange(6) / 10, rtol=1e-6)
    assert data.fingerprint(0, []) != data.fingerprint(1, [])


def test_windows_of_a_data_set(folder: Path) -> None:
    """Through the store, in the form that the published CogACT learns from."""
    request = StoreRequest(
        *(folder / "data", folder / "store"),
        cameras=("primary",),
        image_size=SIDE,
        source="rlds",
        dense=True,
        depth=False,
    )
    ensure_tasks(request, ("custom_finetuning",), progress=False)
    action = type(EE_DELTA_RPY)(EE_DELTA_RPY.mode, EE_DELTA_RPY.components, horizon=3)
    spec = PolicySpec(
        square_cameras(("primary",), SIDE, depth=False),
        LanguageSpec("hashed", 4, 8),
        state=(),
        action=action,
    )
    store = WindowStore(open_tasks(request, ("custom_finetuning",)), request.episodes, (), spec)
    assert len(store.valid) == sum(LENGTHS)
    batch = store.gather(np.array([2, 4]))
    assert batch.valid.tolist() == [[True, True, False], [True, True, True]]
    assert batch.observed.rgb[:, 0, 0, 0, 0].tolist() == [2, 20]
    assert batch.observed.proprioception.shape == (2, 0)
    np.testing.assert_allclose(batch.action[1, :, 6], [1.0, 1.1, 1.2], rtol=1e-6)


def test_actions_with_parts() -> None:
    parts = [
        {
            "world_vector": np.array([0.1 * i, 0, 0]),
            "rotation_delta": np.array([0, 0, 0.2]),
            "gripper_closedness_action": np.array([closing]),
            "terminate_episode": np.zeros(3),
        }
        for i, closing in enumerate((0.0, 1.0, 0.0, -1.0))
    ]
    rows = seven_numbers(parts, "here")
    assert rows.shape == (4, 7) and rows[2].tolist() == pytest.approx([0.2, 0, 0, 0, 0, 0.2, 0])
    assert rows[:, 6].tolist() == [1, 0, 0, 1]
    assert openings(np.array([0.0, -1.0, 0.05])).tolist() == [0, 1, 1]
    assert openings(np.zeros(2)).tolist() == [1, 1]


def test_what_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AbsentError, match="holds no <version>/dataset_info.json"):
        source(folder, task="kuka").episodes()
    with pytest.raises(SourceError, match="has no part val; there are train"):
        source(folder, split="val").episodes()
    with pytest.raises(SourceError, match="has no camera wrist; there are image, other"):
        source(folder, cameras=("wrist",)).frame(0, 0)
    with pytest.raises(SourceError, match=r"shape \(5,\), expected 7 numbers"):
        seven_numbers([np.zeros(5)], "here")
    with pytest.raises(SourceError, match="here: actions lack rotation_delta"):
        seven_numbers([{"world_vector": np.zeros(3)}], "here")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(SourceError, match=r"pip install \"sam2act\[rlds\]\""):
        source(folder).episodes()
