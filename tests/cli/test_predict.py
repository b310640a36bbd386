"""The prediction page, from a tiny training run to the files that a reader opens."""

from __future__ import annotations

import json
import re
import statistics
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from tests.data.synthetic_demos import write_synthetic_task
from tests.training import tiny_run

EPISODES = (0, 1, 2)  # the tiny run trains on the first two
KEYFRAMES_PER_EPISODE = 3
PICTURE_SIDE, VIEWS, GAP = 224, 6, 6


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return import_module("sam2act.cli.predict")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    tiny_run.write_demos(folder)
    assert tiny_run.run(folder, "epochs 1") == 0
    return tiny_run.run_folder(folder) / "model_last.pth"


@pytest.fixture(scope="module")
def output(script: ModuleType, checkpoint: Path) -> Path:
    """The folder that the script writes, beside the checkpoint."""
    arguments = ["--checkpoint", str(checkpoint), "--episodes", *map(str, EPISODES)]
    assert script.main(arguments) == 0
    return checkpoint.parent / "prediction_model_last"


def figures(output: Path) -> dict:
    return json.loads((output / "errors.json").read_text())


def test_every_keyframe_is_reported_once(output: Path) -> None:
    keyframes = figures(output)["keyframes"]
    assert [k["episode"] for k in keyframes] == [e for e in EPISODES for _ in range(3)]
    for episode in EPISODES:
        chain = [k for k in keyframes if k["episode"] == episode]
        assert chain[0]["frame"] == 0
        assert [k["target_frame"] for k in chain[:-1]] == [k["frame"] for k in chain[1:]]


def test_summary_follows_from_the_keyframes(output: Path) -> None:
    content = figures(output)
    assert set(content["summary"]) == {"training", "held out"}
    for group, summary in content["summary"].items():
        members = [k for k in content["keyframes"] if k["group"] == group]
        assert summary["count"] == len(members) > 0
        for name in ("translation_cm", "rotation_degrees"):
            assert summary[f"median_{name}"] == statistics.median(k[name] for k in members)
        for name in ("gripper", "collision"):
            rate = sum(k[f"{name}_correct"] for k in members) / len(members)
            assert summary[f"{name}_rate"] == pytest.approx(rate)


def test_demos_left_out_of_training_are_named(output: Path) -> None:
    groups = {k["episode"]: k["group"] for k in figures(output)["keyframes"]}
    assert groups == {0: "training", 1: "training", 2: "held out"}
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "held out demos" in page and "training demos" in page


def test_page_shows_everything_in_one_file(output: Path) -> None:
    page = (output / "index.html").read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == len(EPISODES) * KEYFRAMES_PER_EPISODE
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in re.sub(r'src="[^"]*"', "", page) and "<script" not in page
    assert page.count("<polyline") >= 3  # the losses of the run
    assert page.count("open the drawer") == len(sources)
    for keyframe in figures(output)["keyframes"]:
        assert f"{keyframe['translation_cm']:.2f} cm" in page
        assert f"{keyframe['rotation_degrees']:.2f}°" in page


def test_pictures_show_six_views(output: Path) -> None:
    pictures = sorted(output.glob("*.png"))
    assert len(pictures) == len(EPISODES) * KEYFRAMES_PER_EPISODE
    with Image.open(pictures[0]) as picture:
        assert picture.size == (VIEWS * PICTURE_SIDE + (VIEWS - 1) * GAP, PICTURE_SIDE)
        assert len(picture.convert("RGB").getcolors(2**24)) > 20


def test_other_output_folder_and_single_episode(
    script: ModuleType, checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--episodes", "2", "--output", str(tmp_path)]
    assert script.main(arguments) == 0
    assert set(figures(tmp_path)["summary"]) == {"held out"}


def test_other_demos_have_a_group_of_their_own_and_leave_the_store_of_the_run_alone(
    script: ModuleType, checkpoint: Path, tmp_path: Path
) -> None:
    store = checkpoint.parents[2] / "store" / "train"
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    write_synthetic_task(tmp_path / "other", episodes=1, instruction="close the drawer")
    arguments = ["--checkpoint", str(checkpoint), "--data", str(tmp_path / "other")]
    arguments += ["--episodes", "0", "0", "--output", str(tmp_path / "page")]
    assert script.main(arguments) == 0
    content = figures(tmp_path / "page")
    assert set(content["summary"]) == {"other"}
    assert len(content["keyframes"]) == KEYFRAMES_PER_EPISODE  # an episode named twice counts once
    assert "close the drawer" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert before == {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--checkpoint", "absent.pth"], "absent.pth"),
        (["--data", "no_such_folder"], "no_such_folder"),
        (["--task", "no_such_task"], "no_such_task"),
        (["--episodes", "77"], "77"),
    ],
)
def test_wrong_arguments_end_with_a_message(
    script: ModuleType, checkpoint: Path, tmp_path: Path, capsys, change: list[str], message: str
) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--episodes", "0", "--output", str(tmp_path)]
    assert script.main([*arguments, *change]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize("same_demos", [True, False])
def test_other_demo_folder_leaves_the_run_alone(
    script: ModuleType, checkpoint: Path, tmp_path: Path, same_demos: bool
) -> None:
    """Foreign demos get a store and a group of their own, whatever their numbers."""
    run = checkpoint.parents[2]
    store = {path: path.stat().st_mtime_ns for path in (run / "store").rglob("*.u8")}
    demos = run / "runs" / ".." / "demos"
    if not same_demos:
        tiny_run.write_demos(tmp_path, seed=40)
        demos = tmp_path / "demos"
    output = tmp_path / "page"
    arguments = ["--checkpoint", str(checkpoint), "--data", str(demos), "--output", str(output)]
    assert script.main([*arguments, "--episodes", "0", "2", "0"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (run / "store").rglob("*.u8")} == store
    assert list((output / "store").rglob("*.u8"))
    groups = {k["episode"]: k["group"] for k in figures(output)["keyframes"]}
    assert groups == ({0: "training", 2: "held out"} if same_demos else {0: "other", 2: "other"})
    assert len(figures(output)["keyframes"]) == 2 * KEYFRAMES_PER_EPISODE


def test_only_the_named_episodes_are_read(
    script: ModuleType, checkpoint: Path, tmp_path: Path
) -> None:
    tiny_run.write_demos(tmp_path, episodes=[0, 1, 2, 99])
    broken = sorted(tmp_path.glob("demos/train/*/all_variations/episodes/episode[12]"))
    assert len(broken) == 2
    for episode in broken:
        (episode / "low_dim_obs.pkl").write_bytes(b"never read")
    arguments = ["--checkpoint", str(checkpoint), "--data", str(tmp_path / "demos")]
    arguments += ["--output", str(tmp_path / "page"), "--episodes", "0", "99"]
    assert script.main(arguments) == 0
    assert {k["episode"] for k in figures(tmp_path / "page")["keyframes"]} == {0, 99}


def test_store_of_vanished_demos_does_not_stand_in(
    script: ModuleType, checkpoint: Path, tmp_path: Path, capsys
) -> None:
    tiny_run.write_demos(tmp_path)
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "page")]
    arguments += ["--episodes", "0", "--data"]
    assert script.main([*arguments, str(tmp_path / "demos")]) == 0
    assert script.main([*arguments, str(tmp_path / "mistyped")]) == 2
    assert "mistyped" in capsys.readouterr().err


def test_absent_episode_names_the_flag(
    script: ModuleType, checkpoint: Path, tmp_path: Path, capsys
) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path)]
    assert script.main([*arguments, "--episodes", "0", "77"]) == 2
    message = capsys.readouterr().err
    assert "77" in message and "--episodes" in message and "demo_start" not in message


def test_run_without_a_log_gives_a_page_without_curves(script: ModuleType, tmp_path: Path) -> None:
    page = script.Page("title")
    before = list(page.parts)
    script.add_losses(page, tmp_path / "metrics.csv")
    assert page.parts == before
