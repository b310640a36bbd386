"""Tasks through gymnasium: its own check, the scripts, seeds, vectors of environments."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode

from sam2act.core.errors import ConfigError
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.tasks import task_names
from sam2act.envs.gymnasium.env import CONTROLS, TaskEnv
from sam2act.envs.gymnasium.registration import embedded_tasks, gym_id
from sam2act.envs.registry import make_env
from sam2act.evaluation.scenes import fresh_scenes
from tests.doc_pages import code, text_of
from tests.envs.gymnasium.conftest import SMALL, scripted_actions
from tests.places import REPOSITORY


def make(task: str, **options: Any) -> TaskEnv:
    env = gymnasium.make(gym_id(task), **(SMALL | options)).unwrapped
    assert isinstance(env, TaskEnv)
    return env


# ---------------------------------------------------------------------------------------- ids
def test_every_task_has_an_id() -> None:
    assert embedded_tasks() == task_names()
    assert gym_id("put_block_back") == "sam2act/PutBlockBack-v0"
    assert {gym_id(task) for task in task_names()} <= set(gymnasium.registry)


WITHOUT_IMPORT = """
import sys, gymnasium
env = gymnasium.make(
    "sam2act.envs.gymnasium:sam2act/TurnOnLamp-v0", cameras=("wrist",), image_size=16
)
assert "torch" not in sys.modules
print(env.reset(seed=0)[0]["pixels"]["wrist"].shape)
"""
BY_ENTRY_POINT = """
import sys
from importlib.metadata import entry_points
import gymnasium
(found,) = entry_points(group="gymnasium.envs", name="sam2act")
found.load()()
assert "torch" not in sys.modules and "mujoco" not in sys.modules
print(gymnasium.spec("sam2act/TurnOnLamp-v0").kwargs["task"])
"""


def run(program: str, *folders: Path) -> str:
    path = os.pathsep.join(map(str, [*folders, REPOSITORY]))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ids_are_known_without_an_import() -> None:
    assert run(WITHOUT_IMPORT) == "(16, 16, 3)\n"


def test_entry_point_of_older_versions_registers_them(tmp_path: Path) -> None:
    """With the metadata of an installation."""
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    assert run(BY_ENTRY_POINT, tmp_path) == "turn_on_lamp\n"


def test_example_of_the_page_runs() -> None:
    (example,) = code(text_of(REPOSITORY / "docs" / "gymnasium.md"), "python")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["picture"].shape == (240, 240, 3) and names["info"]["task"] == "turn_on_lamp"


# -------------------------------------------------------------------------------------- check
def check(task: str, control: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", ".*infinity.*|.*symmetric and normalized.*")
        check_env(make(task, control=control))


@pytest.mark.parametrize(("task", "control"), [("push_same_button", "keyframe")])
def test_gymnasium_finds_nothing_wrong(task: str, control: str) -> None:
    check(task, control)


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("task", embedded_tasks())
def test_gymnasium_finds_nothing_wrong_in_any_task(task: str, control: str) -> None:
    check(task, control)


# ----------------------------------------------------------------------------------- episodes
@pytest.mark.parametrize(
    ("task", "control"),
    [("push_same_button", "keyframe"), ("turn_on_lamp", "ee_pose"), ("turn_on_lamp", "ee_delta")],
)
def test_scripted_actions_succeed_as_through_our_interface(task: str, control: str) -> None:
    ours = make_env(EnvConfig(task, **SMALL))
    env = make(task, control=control)
    instructions, _ = ours.reset(0, 1)
    _, info = env.reset(seed=1, options={"variation": 0})
    assert info["task_description"] == env.task_description == instructions[0]
    for action in scripted_actions(task, control, 0, 1):
        result = ours.step(action, CONTROLS[control])
        observation, reward, terminated, truncated, info = env.step(action)
        frame = result.observation.frame()
        assert np.array_equal(observation["pixels"]["front"], frame.rgb["front"])
        assert np.array_equal(observation["depth"]["front"], frame.depth["front"])
        assert np.array_equal(observation["intrinsics"]["front"], frame.intrinsics["front"])
        assert np.array_equal(observation["extrinsics"]["front"], frame.extrinsics["front"])
        state = np.concatenate([frame.state[part.name] for part in ours.spec.state])
        assert np.array_equal(observation["agent_pos"], state.astype(np.float32))
        assert (reward, terminated, truncated) == (result.reward, result.terminal, False)
        assert env.observation_space.contains(observation) and env.action_space.contains(
            action.astype(np.float32)
        )
        if terminated:
            break
    assert terminated and info["is_success"] and info["error"] == ""


def test_seed_is_the_number_of_an_episode_of_an_evaluation() -> None:
    env = make("put_block_back", scene_set=7000)
    ours = make_env(EnvConfig("put_block_back", **SMALL))
    for number in (0, 3):
        observation, info = env.reset(seed=number)
        variation, seed, _, first = fresh_scenes("put_block_back", 7000, [number])[0].begin(ours)
        assert (info["variation"], info["seed"]) == (variation, seed)
        assert np.array_equal(observation["pixels"]["front"], first.frame().rgb["front"])


def test_resets_without_a_seed_go_on_from_the_last_one() -> None:
    env = make("push_buttons")
    first = [env.reset(seed=3)[1]["seed"], *(env.reset()[1]["seed"] for _ in range(2))]
    again = [env.reset(seed=3)[1]["seed"], *(env.reset()[1]["seed"] for _ in range(2))]
    assert first == again and len(set(first)) == 3


def test_action_that_cannot_be_executed_ends_the_episode() -> None:
    env = make("push_buttons")
    before, _ = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(np.full(9, np.nan))
    assert (reward, terminated, truncated, info["is_success"]) == (0.0, True, False, False)
    assert info["error"].startswith("InvalidActionError: action")
    assert data_equivalence(before, observation, exact=True)


def test_episode_is_truncated_at_its_length() -> None:
    env = make("push_buttons", control="ee_delta", episode_length=2)
    env.reset(seed=0)
    still = np.array([0.0] * 6 + [1.0])
    assert [env.step(still)[3] for _ in range(2)] == [False, True]


def test_quaternion_of_any_length_will_do() -> None:
    env = make("push_same_button", control="ee_pose")
    results = []
    for scale in (1.0, 3.0):
        env.reset(seed=0)
        pose = np.array([0.28, 0.0, 1.4, *(scale * np.array([0.0, 1.0, 0.0, 0.0])), 1.0])
        observation, *_, info = env.step(pose)
        assert info["error"] == ""
        results.append(observation["agent_pos"])
    assert np.allclose(*results)


def test_picture_is_rendered_on_request() -> None:
    env = make("push_buttons", render_mode="rgb_array", control="ee_pose")
    env.reset(seed=0)
    assert env.render().shape == (240, 240, 3) and env.metadata["render_fps"] == 20
    plain = make("push_buttons")
    plain.reset(seed=0)
    assert plain.render() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "joints"}, "control: 'joints' is not one of keyframe, ee_pose, ee_delta"),
        ({"perturb": "x"}, "perturb: no option of backend embedded, which has perturbations"),
        ({"render_mode": "ansi"}, "render_mode: 'ansi'"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TaskEnv("push_buttons", **(SMALL | options))
    env = make("push_buttons")
    with pytest.raises(ConfigError, match="options of reset: scene unknown"):
        env.reset(options={"scene": 3})
    with pytest.raises(RuntimeError, match="call reset first"):
        env.step(np.zeros(9))


# ------------------------------------------------------------------------------------ vectors
Episode = list[tuple[Any, float, bool]]


def serial(task: str, number: int) -> Episode:
    """Observations, rewards and ends of the scripted episode `number`."""
    env = make(task)
    _, info = env.reset(seed=number)
    steps: Episode = []
    for action in scripted_actions(task, "keyframe", info["variation"], info["seed"]):
        observation, reward, terminated, *_ = env.step(action)
        steps.append((observation, reward, terminated))
        if terminated:
            break
    return steps


def vectorised(task: str, numbers: list[int]) -> list[Episode]:
    """The same of several episodes at once; the rows that are over repeat their last action."""
    envs = gymnasium.make_vec(
        gym_id(task),
        num_envs=len(numbers),
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **SMALL,
    )
    _, info = envs.reset(seed=numbers)
    scripts = [
        scripted_actions(task, "keyframe", int(v), int(s))
        for v, s in zip(info["variation"], info["seed"], strict=True)
    ]
    episodes: list[Episode] = [[] for _ in numbers]
    for step in range(max(map(len, scripts))):
        actions = np.stack([script[min(step, len(script) - 1)] for script in scripts])
        observations, rewards, ends, _, info = envs.step(actions)
        for row, episode in enumerate(episodes):
            if episode and episode[-1][2]:
                continue
            seen = {key: _row(value, row) for key, value in observations.items()}
            if ends[row]:
                seen = info["final_obs"][row]
            episode.append((seen, float(rewards[row]), bool(ends[row])))
    envs.close()
    return episodes


def _row(values: Any, row: int) -> Any:
    if isinstance(values, dict):
        return {key: _row(value, row) for key, value in values.items()}
    return values[row].copy()


def compare(task: str, numbers: list[int]) -> None:
    alone = [serial(task, number) for number in numbers]
    together = vectorised(task, numbers)
    for one, other in zip(alone, together, strict=True):
        assert one[-1][1] == 1.0 and one[-1][2]
        assert [step[1:] for step in one] == [step[1:] for step in other]
        for (seen, *_), (expected, *_) in zip(other, one, strict=True):
            assert data_equivalence(dict(seen), dict(expected), exact=True)


def test_vectorised_episodes_equal_serial_ones() -> None:
    compare("turn_on_lamp", [0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 100, 20))
def test_hundred_vectorised_episodes_equal_serial_ones(start: int) -> None:
    compare("push_same_button", list(range(start, start + 20)))
