"""Which scenes an evaluation uses."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sam2act.data.rlbench.demo_folders import VARIATION_FILE, episodes_folder
from sam2act.data.rlbench.demo_writer import write_episode
from sam2act.data.rlbench.demos import read_episode
from sam2act.data.rlbench.types import DemoError, dump_published
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.options import Options
from sam2act.envs.recording.demo_generation import Request, generate
from sam2act.envs.registry import make_env
from sam2act.evaluation.actors import keyframe_actions
from sam2act.evaluation.scenes import (
    EpisodeStart,
    SceneError,
    demo_scenes,
    fresh_scenes,
    recorded_backend,
)

TASK = "push_buttons"


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "test"
    list(generate(Request((TASK,), 11, folder, seed=5, images="none"), workers=1))
    return folder


def test_demos_are_taken_in_natural_order(demos: Path) -> None:
    scenes = demo_scenes(demos, TASK, 1, 10, restore=True)
    assert [scene.episode for scene in scenes] == list(range(1, 11))
    assert [scene.demo.name for scene in scenes if scene.demo] == [
        f"episode{number}" for number in range(1, 11)
    ]


def test_stray_folders_are_no_demos_and_other_writings_are(demos: Path, tmp_path: Path) -> None:
    folder = episodes_folder(tmp_path, "test", TASK)
    for number, name in enumerate(("episode002", "episode_0", "episode1", "episode2 (copy)")):
        source = episodes_folder(demos.parent, demos.name, TASK) / f"episode{number}"
        shutil.copytree(source, folder / name)
    (folder / ".ipynb_checkpoints").mkdir()
    scenes = demo_scenes(tmp_path / "test", TASK, 0, 3, restore=True)
    assert [scene.demo for scene in scenes] == [
        folder / name for name in ("episode_0", "episode1", "episode002")
    ]
    assert all(recorded_backend(scene) == "embedded" for scene in scenes)


def test_upstream_demos_are_replayed_with_the_assumed_flag(demos: Path) -> None:
    (scene,) = demo_scenes(demos, TASK, 3, 1, restore=True)
    assert scene.demo is not None
    episode = read_episode(scene.demo)
    for observation in episode.demo:
        del observation.ignore_collisions
    with pytest.raises(DemoError, match="set assume_ignore_collisions"):
        keyframe_actions(episode)
    for assumed in (True, False):
        ignore = keyframe_actions(episode, assume_ignore_collisions=assumed)[2]
        assert set(ignore) == {float(assumed)}


def test_a_demo_restores_its_scene(demos: Path) -> None:
    env = make_env(EnvConfig(TASK))
    (scene,) = demo_scenes(demos, TASK, 4, 1, restore=True)
    variation, seed, instructions, observation = scene.begin(env)
    again = env.reset(variation, seed or 0)
    assert again[0] == instructions
    assert np.array_equal(again[1].front_rgb, observation.front_rgb)


def test_variation_is_that_of_the_file_beside_the_demo(demos: Path, tmp_path: Path) -> None:
    """Demos recorded by RLBench hold variation 0 themselves, whatever they show."""
    (scene,) = demo_scenes(demos, TASK, 4, 1, restore=True)
    assert scene.demo is not None
    stored = read_episode(scene.demo)
    assert stored.variation_number > 0
    stored.demo.variation_number = 0
    folder = tmp_path / "episode0"
    write_episode(folder, stored.demo, stored.descriptions, ())
    dump_published(stored.variation_number, folder / VARIATION_FILE)
    env = make_env(EnvConfig(TASK))
    expected, found = scene.begin(env), EpisodeStart(TASK, 0, demo=folder).begin(env)
    assert found[:3] == expected[:3]


def test_perturbed_scenes_keep_variation_and_seed_of_the_demo(demos: Path) -> None:
    (plain,) = demo_scenes(demos, TASK, 4, 1, restore=True)
    (perturbed,) = demo_scenes(demos, TASK, 4, 1, restore=False)
    before = plain.begin(make_env(EnvConfig(TASK)))
    after = perturbed.begin(
        make_env(EnvConfig(TASK, options=Options(perturbations=("table_color",))))
    )
    assert before[:3] == after[:3]
    assert not np.array_equal(before[3].front_rgb, after[3].front_rgb)
    with pytest.raises(ValueError, match="perturbations"):
        plain.begin(make_env(EnvConfig(TASK, options=Options(perturbations=("table_color",)))))


def test_fresh_scenes_are_those_of_their_seed() -> None:
    env = make_env(EnvConfig("put_block_back"))
    drawn = [scene.begin(env)[:2] for scene in fresh_scenes("put_block_back", 7, range(8))]
    assert sorted(variation for variation, _ in drawn) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({seed for _, seed in drawn}) == 8
    assert drawn == [s.begin(env)[:2] for s in fresh_scenes("put_block_back", 7, range(8))]
    assert drawn != [s.begin(env)[:2] for s in fresh_scenes("put_block_back", 8, range(8))]


def test_backend_is_that_of_the_recording(demos: Path, tmp_path: Path) -> None:
    (scene,) = demo_scenes(demos, TASK, 0, 1, restore=True)
    assert recorded_backend(scene) == "embedded"
    assert scene.demo is not None
    folder = tmp_path / "episode0"
    shutil.copytree(scene.demo, folder)
    demo = read_episode(folder).demo
    for observation in demo:
        observation.misc = {}  # as RLBench's, which do not say
    shutil.rmtree(folder)
    write_episode(folder, demo, ["push"], ())
    assert recorded_backend(EpisodeStart(TASK, 0, demo=folder)) == "rlbench"


@pytest.mark.parametrize(
    ("folder", "task", "start", "count", "message"),
    [
        (".", TASK, 5, 10, r"there are 11 demos; pass --eval-episodes 6"),
        (".", TASK, 11, 1, r"there are 11 demos, none from number 11"),
        (".", "push_button", 0, 1, r"did you mean push_buttons\?"),
        (".", "stack_cups", 0, 1, r"holds push_buttons"),
        ("..", TASK, 0, 1, r"did you mean .*test\?"),
        ("nowhere", TASK, 0, 1, r"--backend embedded --seed N"),
    ],
)
def test_absent_demos_are_named_with_the_remedy(
    demos: Path, folder: str, task: str, start: int, count: int, message: str
) -> None:
    with pytest.raises(SceneError, match=message):
        demo_scenes(demos / folder, task, start, count, restore=True)
