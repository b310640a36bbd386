"""Demos that an evaluation cannot use are found before its first episode."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.data.rlbench.demo_folders import EPISODES_FOLDER, LOW_DIM_FILE, VARIATION_FILE
from sam2act.data.rlbench.demos import read_episode
from sam2act.data.rlbench.types import Demo, RecordedObservation, dump_published
from sam2act.envs.recording.demo_generation import Request, generate
from sam2act.evaluation.actors import keyframe_actions
from sam2act.evaluation.scene_checks import DemoCheck, usable_scenes
from sam2act.evaluation.scenes import EpisodeStart, SceneError, demo_scenes, read_stored

TASK, COUNT = "push_buttons", 4
STATE = np.random.RandomState(3).get_state()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "test"
    list(generate(Request((TASK,), COUNT, folder, seed=5, images="none"), workers=1))
    return folder


@pytest.fixture
def demos(recorded: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    read_stored.cache_clear()
    return Path(shutil.copytree(recorded, tmp_path / "test"))


def episode(demos: Path, number: int) -> Path:
    return demos / TASK / EPISODES_FOLDER / f"episode{number}"


def edit(folder: Path, change: Callable[[Demo], object]) -> None:
    demo = read_episode(folder).demo
    change(demo)
    dump_published(demo, folder / LOW_DIM_FILE)


def truncate(folder: Path) -> None:
    path = folder / LOW_DIM_FILE
    path.write_bytes(path.read_bytes()[:2000])


def set_origin(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda demo: demo[0].misc.update(values))


def set_seed(seed: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda demo: setattr(demo, "random_seed", seed))


def of_rlbench(folder: Path) -> None:
    def forget(demo: Demo) -> None:
        demo.random_seed = STATE
        for observation in demo:
            observation.misc = {}

    edit(folder, forget)


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, "low_dim_obs.pkl: not a readable pickle"),
    "empty folder": (lambda f: (shutil.rmtree(f), f.mkdir()), "low_dim_obs.pkl: cannot be read"),
    "no such variation": (
        lambda f: dump_published(99, f / VARIATION_FILE),
        "episode2: variation: push_buttons has 0 to 49, not 99; record it again",
    ),
    "negative variation": (lambda f: dump_published(-1, f / VARIATION_FILE), "0 to 49, not -1"),
    "other task": (set_origin(task="stack_cups"), "episode2: .* task stack_cups, but .*push_butt"),
    "perturbed": (set_origin(perturbations=["light_color"]), "perturbations .'light_color'."),
    "other simulator": (of_rlbench, "backend rlbench, but this environment has embedded"),
    "no frames": (lambda f: edit(f, lambda d: d._observations.clear()), "no frames"),
    "no seed": (
        lambda f: edit(f, lambda d: setattr(d, "random_seed", None)),
        "random_seed: .*None",
    ),
    "state for a seed": (lambda f: edit(f, lambda d: setattr(d, "random_seed", STATE)), "tuple"),
}


def scenes_of(demos: Path, **options: Any) -> list[EpisodeStart]:
    return demo_scenes(demos, TASK, 0, COUNT, **({"restore": True} | options))


def usable(scenes: list[EpisodeStart], *, skip_bad: bool = False, backend: str = "embedded") -> Any:
    return usable_scenes(scenes, DemoCheck(backend), skip_bad=skip_bad, progress=False)


def test_sound_demos_are_all_used(demos: Path) -> None:
    scenes = scenes_of(demos)
    assert usable(scenes) == (scenes, {})


@pytest.mark.parametrize("kind", SPOILERS)
def test_bad_demos_are_found_or_left_out(demos: Path, kind: str) -> None:
    spoil, message = SPOILERS[kind]
    spoil(episode(demos, 2))
    scenes = scenes_of(demos)
    with pytest.raises(SceneError, match=message) as found:
        usable(scenes)
    assert "--skip-bad-episodes" in str(found.value) and "\n" not in str(found.value)
    good, bad = usable(scenes, skip_bad=True)
    assert [scene.episode for scene in good] == [0, 1, 3]
    assert [scene.episode for scene in bad] == [2]


def test_all_bad_demos_are_counted(demos: Path) -> None:
    for number in (1, 3):
        truncate(episode(demos, number))
    with pytest.raises(SceneError, match=r"episode1.*2 of 4 demos .*also push_buttons/episode3"):
        usable(scenes_of(demos))
    for number in (0, 2):
        truncate(episode(demos, number))
    read_stored.cache_clear()
    with pytest.raises(SceneError, match="no other demo of the task is left"):
        usable(scenes_of(demos), skip_bad=True)


def test_perturbed_scenes_need_task_and_seed_but_not_equal_perturbations(demos: Path) -> None:
    set_origin(perturbations=["light_color"])(episode(demos, 2))
    scenes = scenes_of(demos, restore=False)
    assert usable(scenes) == (scenes, {})
    set_origin(task="stack_cups")(episode(demos, 1))
    with pytest.raises(SceneError, match="task stack_cups"):
        usable(scenes_of(demos, restore=False))


def test_rlbench_demos_need_a_state_of_the_generator(demos: Path) -> None:
    for number in range(COUNT):
        of_rlbench(episode(demos, number))
    scenes = scenes_of(demos)
    before = np.random.get_state()[1].copy()
    assert usable(scenes, backend="rlbench") == (scenes, {})
    assert np.array_equal(np.random.get_state()[1], before), "the global generator is left alone"
    edit(episode(demos, 0), lambda demo: setattr(demo, "random_seed", ("MT19937", [1, 2], 0)))
    read_stored.cache_clear()
    with pytest.raises(SceneError, match="no state of numpy's generator"):
        usable(scenes_of(demos), backend="rlbench")


def test_demos_to_be_replayed_need_keyframes(demos: Path) -> None:
    edit(episode(demos, 1), lambda demo: demo._observations.__delitem__(slice(1, None)))
    scenes = scenes_of(demos)
    assert usable(scenes)[1] == {}
    check = DemoCheck("embedded", also=keyframe_actions)
    with pytest.raises(SceneError, match="1 frames has no keyframes"):
        usable_scenes(scenes, check, skip_bad=False, progress=False)


def test_missing_numbers_are_noticed_where_positions_would_shift(demos: Path) -> None:
    shutil.rmtree(episode(demos, 1))
    with pytest.raises(SceneError, match=r"episode1 missing, .*demo 1 is episode2.*--skip-bad"):
        demo_scenes(demos, TASK, 1, 2, restore=True)
    accepted = demo_scenes(demos, TASK, 1, 2, restore=True, gaps=True)
    assert [scene.demo.name for scene in accepted if scene.demo] == ["episode2", "episode3"]
    assert len(demo_scenes(demos, TASK, 0, 1, restore=True)) == 1, "those before the gap are sound"


def test_a_set_may_begin_at_any_number(demos: Path) -> None:
    for number in (0, 1):
        shutil.rmtree(episode(demos, number))
    chosen = demo_scenes(demos, TASK, 0, 2, restore=True)
    assert [scene.demo.name for scene in chosen if scene.demo] == ["episode2", "episode3"]


def test_an_empty_folder_of_episodes_is_named(tmp_path: Path) -> None:
    (tmp_path / TASK / EPISODES_FOLDER).mkdir(parents=True)
    with pytest.raises(SceneError, match=r"episodes: holds no episode<N>; .*--backend embedded"):
        demo_scenes(tmp_path, TASK, 0, 1, restore=True)


def test_fresh_scenes_have_no_demo_to_check() -> None:
    assert DemoCheck("embedded")(EpisodeStart(TASK, 0, seed=1)) == ""


def test_frames_without_misc_are_of_rlbench() -> None:
    from sam2act.envs.recorded import recorded_origin

    assert recorded_origin(Demo([RecordedObservation()])) == {"backend": "rlbench"}


def test_where_no_demo_is_sound_leaving_them_out_is_no_remedy(demos: Path) -> None:
    for number in range(COUNT):
        set_origin(perturbations=["light_color"])(episode(demos, number))
    with pytest.raises(SceneError, match="4 of 4 demos cannot be used") as found:
        usable(scenes_of(demos))
    assert "--skip-bad-episodes" not in str(found.value)
