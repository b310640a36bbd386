"""Data sets of scripted demos: layout, resuming, workers, retries, readers."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from sam2act.cli.demos import main
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.data.rlbench.demo_images import IMAGE_KINDS
from sam2act.data.rlbench.demos import list_episodes, read_episode
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.envs.base import CAMERAS, ScriptError
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.recording.demo_generation import Request, generate, missing_jobs
from sam2act.envs.recording.generation_log import LOG_FILE, GenerationError
from sam2act.envs.seeding import episode_seed, episode_variation
from tests.in_process import run_main
from tests.places import REPOSITORY, SCRIPTS

STARTER = SCRIPTS / "generate_demos.py"
TASK = "put_block_back"
SIDE = 32


def request(output: Path, episodes: int = 2, **options) -> Request:
    return Request(
        tasks=(TASK,), episodes=episodes, output=output, **{"image_size": SIDE, **options}
    )


def missing(wanted: Request) -> list[int]:
    return [job.episode for job in missing_jobs(wanted)]


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file of the episodes; pickles by what they hold."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "episodes" in path.parts:
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_script_makes_demos_that_training_reads(tmp_path: Path) -> None:
    output = tmp_path / "data" / "train"
    flags = ("--tasks", TASK, "--episodes", "2", "--output", str(output), "--workers", "2")
    done = subprocess.run(
        [sys.executable, str(STARTER), *flags],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((output / "summary.json").read_text())[TASK]
    assert summary["requested"] == summary["succeeded"] == 2
    assert summary["succeeded_at_first_attempt"] == 2 and summary["keyframes"] == 12
    assert summary["failure_causes"] == {} and summary["seconds_per_demo"] > 0
    sheet = Image.open(output / f"{TASK}_contact_sheet.png")
    assert sheet.width > 12 * 128 and sheet.height > 4 * 128
    assert "2 of 2 demos, 2 at the first attempt" in done.stdout
    store = ensure_store(
        StoreRequest(
            data_folder=str(tmp_path / "data"),
            store_folder=str(tmp_path / "store"),
            split="train",
            numbers=(0, 1),
            cameras=POLICY_CAMERAS,
            image_size=128,
        ),
        [TASK],
    )
    assert len(store.instructions) == 1 and "move the block" in store.instructions[0]


def test_result_does_not_depend_on_workers_or_interruptions(tmp_path: Path) -> None:
    one, two = request(tmp_path / "one", 3), request(tmp_path / "two", 3)
    list(generate(one, workers=1))
    interrupted = generate(request(tmp_path / "two", 3), workers=1)
    next(interrupted)
    interrupted.close()
    assert len(missing(two)) == 2
    list(generate(two, workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) > 100


def test_more_episodes_are_added_and_finished_ones_kept(tmp_path: Path) -> None:
    list(generate(request(tmp_path, 1, images="none"), workers=1))
    pickle_file = tmp_path / TASK / "all_variations/episodes/episode0/low_dim_obs.pkl"
    before = pickle_file.stat().st_mtime_ns
    rows = list(generate(request(tmp_path, 3, images="none"), workers=1))
    assert sorted(row.episode for row in rows) == [1, 2]
    assert pickle_file.stat().st_mtime_ns == before
    assert list_episodes(tmp_path.parent, tmp_path.name, TASK) == [0, 1, 2]


def test_deleted_episode_is_made_again(tmp_path: Path) -> None:
    import shutil

    wanted = request(tmp_path, 2, images="none")
    list(generate(wanted, workers=1))
    before = contents(tmp_path)
    shutil.rmtree(wanted.episode_folder(TASK, 1))
    assert missing(wanted) == [1]
    list(generate(wanted, workers=1))
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "line", [b'{"task": "put_bl', b"\xff\xfe\x80", b"[1]", b'{"episode": 0}', b"7"]
)
def test_line_cut_off_by_a_crash_is_ignored(tmp_path: Path, line: bytes) -> None:
    wanted = request(tmp_path, 1, images="none")
    list(generate(wanted, workers=1))
    log = tmp_path / TASK / LOG_FILE
    log.write_bytes(log.read_bytes() + line)
    assert missing(wanted) == []
    more = request(tmp_path, 2, images="none")
    list(generate(more, workers=1))
    assert missing(more) == []


def test_other_options_are_not_mixed(tmp_path: Path) -> None:
    list(generate(request(tmp_path, 1, images="none"), workers=1))
    with pytest.raises(GenerationError, match="another output folder"):
        list(generate(request(tmp_path, 2, images="none", seed=1), workers=1))


def test_what_a_killed_first_episode_left_is_no_foreign_demo(tmp_path: Path) -> None:
    (tmp_path / TASK / "all_variations/episodes/episode0.part-99").mkdir(parents=True)
    (tmp_path / TASK / "all_variations/episodes/.ipynb_checkpoints").mkdir()
    assert len(list(generate(request(tmp_path, 1, images="none"), workers=1))) == 1


def test_foreign_demos_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / TASK / "all_variations/episodes/episode0").mkdir(parents=True)
    with pytest.raises(GenerationError, match="come from elsewhere"):
        list(generate(request(tmp_path), workers=1))


def test_failed_attempts_are_repeated_with_other_seeds_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []
    original = EmbeddedEnv.get_demo

    def flaky(self, variation: int, seed: int, images: str):
        seeds.append(seed)
        if len(seeds) <= 2:
            raise ScriptError("slipped")
        return original(self, variation, seed, images)

    monkeypatch.setattr(EmbeddedEnv, "get_demo", flaky)
    wanted = request(tmp_path, 1, images="none")
    (row,) = generate(wanted, workers=1)
    assert row.attempts == 3 and row.seed == seeds[2]
    assert seeds[1] - seeds[0] == seeds[2] - seeds[1] == 1_000_003
    summary = wanted.summary(TASK)
    assert summary["succeeded"] == 1 and summary["succeeded_at_first_attempt"] == 0
    assert summary["failure_causes"] == {"ScriptError: slipped": 2}
    episode = read_episode(wanted.episode_folder(TASK, 0))
    assert episode.random_seed == seeds[2]


def test_hopeless_episode_ends_after_the_last_attempt_and_goes_on_with_new_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def fail(self, variation: int, seed: int, images: str):
        seeds.append(seed)
        raise ScriptError(f"slipped at {seed}")

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedEnv, "get_demo", fail)
        for _ in range(2):  # the second call tries other seeds
            wanted = request(tmp_path, 1, images="none", max_attempts=2)
            (row,) = generate(wanted, workers=1)
    assert row.seed is None and row.attempts == 4 and len(set(seeds)) == 4
    assert missing(wanted) == [0]
    assert wanted.summary(TASK)["failure_causes"] == {"ScriptError: slipped at #": 4}
    (row,) = generate(request(tmp_path, 1, images="none", max_attempts=3), workers=1)
    assert row.attempts == 5 and row.seed == episode_seed(0, TASK, 0) + 4 * 1_000_003
    assert wanted.summary(TASK)["succeeded_at_first_attempt"] == 0


def test_options_may_change_while_nothing_has_been_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ScriptError("slipped")

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedEnv, "get_demo", fail)
        list(generate(request(tmp_path, 1, images="none", max_attempts=1), workers=1))
    wanted = request(tmp_path, 1, images="none", seed=3)
    list(generate(wanted, workers=1))
    assert missing(wanted) == [] and wanted.summary(TASK)["failure_causes"] == {}


def test_programming_error_names_the_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(EmbeddedEnv, "get_demo", fail)
    with pytest.raises(RuntimeError, match=f"{TASK}, episode 0, variation .*KeyError"):
        list(generate(request(tmp_path, 1, images="none"), workers=1))


def is_gone(group: int, seconds: float = 10) -> bool:
    """Whether the last process of a group ends within some seconds."""
    for _ in range(int(10 * seconds)):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_stops_soon_and_loses_nothing(tmp_path: Path, sent: signal.Signals) -> None:
    """As Ctrl-C in a terminal, which reaches the workers, too."""
    output = tmp_path / "train"
    flags = ["--tasks", TASK, "--episodes", "40", "--image-size", "16", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, str(STARTER), *flags, "--output", str(output)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
    )
    log = output / TASK / LOG_FILE
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        assert process.poll() is None
        time.sleep(0.1)
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)
    else:
        process.send_signal(sent)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "goes on from here" in message
    rows = len(log.read_text().splitlines()) - 1
    folders = sorted(path.name for path in (output / TASK / "all_variations/episodes").iterdir())
    assert len(folders) == rows < 40 and not any("part" in name for name in folders)
    assert is_gone(process.pid)  # no worker is left


def test_same_seed_in_another_split_is_warned_of(tmp_path: Path) -> None:
    list(generate(request(tmp_path / "train", 1, images="none"), workers=1))
    flags = ("--tasks", TASK, "--episodes", 1, "--images", "none", "--workers", 1)
    done = run_main(main, *flags, "--output", tmp_path / "test")
    assert done.returncode == 0 and f"{tmp_path / 'train'} has the same --seed" in done.stderr
    done = run_main(main, *flags, "--output", tmp_path / "val", "--seed", 5)
    assert done.returncode == 0 and "same --seed" not in done.stderr


def test_unwritable_output_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_main(main, "--tasks", TASK, "--episodes", 1, "--output", tmp_path / "file")
    assert done.returncode == 2 and str(tmp_path / "file") in done.stderr


def test_all_images_have_the_complete_layout_of_rlbench(tmp_path: Path) -> None:
    wanted = request(tmp_path, 1, images="all", image_size=16)
    (row,) = generate(wanted, workers=1)
    folder = wanted.episode_folder(TASK, 0)
    for camera in CAMERAS:
        for kind in (*IMAGE_KINDS, "mask"):
            names = {path.name for path in (folder / f"{camera}_{kind}").iterdir()}
            assert names == {f"{frame}.png" for frame in range(row.frames)}
    assert len(read_episode(folder).demo) == row.frames


def test_variations_are_balanced(tmp_path: Path) -> None:
    wanted = request(tmp_path)
    drawn = [episode_variation(wanted.seed, TASK, episode, 4) for episode in range(8)]
    assert sorted(drawn[:4]) == [0, 1, 2, 3] and drawn[:4] == drawn[4:]


def test_perturbed_demos_say_so(tmp_path: Path) -> None:
    wanted = request(tmp_path, 1, images="none", perturbations=("table_color",))
    list(generate(wanted, workers=1))
    demo = read_episode(wanted.episode_folder(TASK, 0)).demo
    assert demo[0].misc["perturbations"] == ["table_color"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "put_blok_back", "--output", "x"], "did you mean put_block_back"),
        (["--tasks", TASK, "--output", "x", "--perturb", "moonlight"], "moonlight"),
        (["--tasks", TASK, "--output", "x", "--perturb", "object_size"], "changes nothing in"),
        (["--tasks", TASK], "--output"),
        (["--tasks", TASK, "--output", "x", "--episodes", "0"], "not a positive whole number"),
        (["--tasks", TASK, "--output", "x", "--episodes", "many"], "not a positive whole number"),
        (["--tasks", TASK, "--output", "x", "--seed", "-1"], "seed: -1 is negative"),
        (["--tasks", TASK, "--output", "x", "--image-size", "4"], "image_size: 4"),
    ],
)
def test_impossible_requests_are_refused(arguments: list[str], message: str) -> None:
    done = run_main(main, *arguments)
    assert done.returncode == 2 and message in done.stderr


def test_list_names_tasks_and_perturbations() -> None:
    done = run_main(main, "--list")
    assert done.returncode == 0
    assert "rearrange_block" in done.stdout and "camera_pose" in done.stdout
    assert "object_color; no effect in light_bulb_in, put_groceries_in_cupboard" in done.stdout
    assert "light_direction; in extra for all tasks\n" in done.stdout
    assert "for all tasks but reach_and_drag, slide_block_to_color_target" in done.stdout
    assert "  turn_tap; scene not known\n" in done.stdout and "  open_drawer\n" in done.stdout
    assert "  stack_cubes; real-robot task, our scene\n" in done.stdout
    assert "  push_buttons@any_colors: Each variation has its own colours" in done.stdout


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("low_dim_obs.pkl", b""),
        ("variation_descriptions.pkl", None),
        ("front_rgb/0.png", None),
        ("front_depth/0.png", "half"),
        ("wrist_rgb/0.png", b"no picture"),
    ],
)
def test_damaged_episode_is_made_again(tmp_path: Path, caplog, place: str, content) -> None:
    wanted = request(tmp_path, 1)
    list(generate(wanted, workers=1))
    before = contents(tmp_path)
    path = wanted.episode_folder(TASK, 0) / place
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.unlink()
    if content is not None:
        path.write_bytes(half if content == "half" else content)
    assert missing(wanted) == [0]
    assert "episode 0 is made again" in caplog.text and path.name in caplog.text
    list(generate(wanted, workers=1))
    assert contents(tmp_path) == before
    assert missing(wanted) == []


def test_episode_of_another_number_is_made_again(tmp_path: Path) -> None:
    import shutil

    wanted = request(tmp_path, 2, images="none")
    list(generate(wanted, workers=1))
    shutil.rmtree(wanted.episode_folder(TASK, 1))
    shutil.copytree(wanted.episode_folder(TASK, 0), wanted.episode_folder(TASK, 1))
    assert missing(wanted) == [1]
