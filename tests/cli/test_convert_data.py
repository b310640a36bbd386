"""The command that converts episodes: every format and back, interruptions, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2act.cli.convert_data import main
from sam2act.core.registry import SOURCES
from sam2act.data.loader import gather_batch
from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.demo_images import image_path, read_picture
from sam2act.data.rlbench.demos import read_episode
from sam2act.data.rlbench.types import dump_published, load_restricted
from sam2act.data.source import SourceRequest
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from tests.data.round_trip import assert_same_demos
from tests.data.synthetic_demos import write_synthetic_task

for package in ("zarr", "pyarrow", "av"):
    pytest.importorskip(package, reason=f"converting data needs {package}")

TASK = "open_drawer"


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demos of one camera, and one in a split of its own with all that a demo may hold."""
    folder = tmp_path_factory.mktemp("demos")
    options = {"images": "all", "keyframes": (6, 12), "cameras": ("front",)}
    write_synthetic_task(folder, episodes=2, **options)
    write_synthetic_task(folder, split="full", episodes=[7], **options)
    episode = episodes_folder(folder, "full", TASK) / "episode7"
    demo = load_restricted(episode / "low_dim_obs.pkl")
    demo.random_seed = np.random.RandomState(3).get_state()
    for index, observation in enumerate(demo):
        observation.joint_positions = np.full(7, index / 3)
        observation.joint_forces = None
        observation.task_low_dim_state = np.arange(index % 2 + 1) / 7
        observation.misc |= {"backend": "embedded", "perturbations": ["a", "b"], "version": 3}
    dump_published(demo, episode / "low_dim_obs.pkl")
    return folder


def _convert(origin: str, source: Path, target: str, output: Path, *more: str) -> int:
    places = ["--from", origin, "--input", str(source), "--to", target, "--output", str(output)]
    return main([*places, "--tasks", TASK, *more])


def test_nothing_is_lost_in_lerobot_and_zarr(demos: Path, tmp_path: Path) -> None:
    """Pictures, numbers in their types, texts, fields of changing length, the random state."""
    full = ("--split", "full")
    assert _convert("rlbench", demos, "lerobot", tmp_path / "a", *full) == 0
    assert _convert("lerobot", tmp_path / "a", "zarr", tmp_path / "b", *full) == 0
    assert _convert("zarr", tmp_path / "b", "rlbench", tmp_path / "back", *full) == 0
    assert_same_demos(*(episodes_folder(p, "full", TASK) for p in (demos, tmp_path / "back")))


@pytest.mark.parametrize(
    ("form", "options"),
    [("lerobot", ["--colours", "lossless"]), ("zarr", ["--zarr-format", "3"])],
)
def test_a_second_call_goes_on(
    demos: Path,
    tmp_path: Path,
    form: str,
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    assert _convert("rlbench", demos, form, there, "--episodes", "1", *options) == 0
    assert _convert("rlbench", demos, form, there, *options) == 0
    assert "2 episodes" in capsys.readouterr().out.splitlines()[-1]
    assert _convert("rlbench", demos, form, there, *options) == 0
    assert "2 of them before" in capsys.readouterr().out
    assert _convert(form, there, "rlbench", back, "--episodes", "1") == 0
    assert _convert(form, there, "rlbench", back) == 0
    assert_same_demos(*(episodes_folder(p, "train", TASK) for p in (demos, back)))


def test_keyframes_marked_by_hand_are_learnt(demos: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks.json"
    marks.write_text('{"0": [3, 12]}')
    there = tmp_path / "there"
    assert _convert("rlbench", demos, "lerobot", there, "--keyframes", str(marks)) == 0
    source = SOURCES.get("lerobot")(SourceRequest(there, "train", TASK, ("front",), 16))
    assert [source.facts(number).keyframes for number in (0, 1)] == [(3, 12), (6, 12)]
    request = StoreRequest(
        there, tmp_path / "store", cameras=("front",), image_size=16, source="lerobot"
    )
    store = ensure_store(request, [TASK], progress=False)
    learnt = gather_batch(store, store.valid).identities
    found = {(sample.episode, sample.target_frame) for sample in learnt}
    assert found == {(0, 3), (0, 12), (1, 6), (1, 12)}
    marks.write_text('{"0": [12, 3]}')
    assert _convert("rlbench", demos, "lerobot", tmp_path / "x", "--keyframes", str(marks)) == 2


def test_pictures_of_any_size_become_square_and_matrices_follow(
    demos: Path, tmp_path: Path
) -> None:
    options = ["--image-size", "5", "--episodes", "1"]
    assert _convert("rlbench", demos, "rlbench", tmp_path, *options) == 0
    old, new = (episodes_folder(place, "train", TASK) / "episode0" for place in (demos, tmp_path))
    before, after = (read_picture(image_path(p, "front", "rgb", 3), "rgb") for p in (old, new))
    assert after.shape == (5, 5, 3)
    assert (after == before[1:14:3, 1:14:3]).all()
    matrices = [read_episode(place).demo[3].misc["front_camera_intrinsics"] for place in (old, new)]
    assert np.allclose(matrices[1][0, 2], (matrices[0][0, 2] - 1) / 3)
    assert np.allclose(matrices[1][0, 0], matrices[0][0, 0] / 3)


def test_demos_without_all_images_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic_task(tmp_path / "demos", episodes=1, keyframes=(6, 12))
    assert _convert("rlbench", tmp_path / "demos", "lerobot", tmp_path / "there") == 2
    assert "frame 1 has no image front_rgb" in capsys.readouterr().err
