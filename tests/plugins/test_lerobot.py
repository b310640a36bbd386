"""The two plug-ins of LeRobot, in an environment that scripts/make_lerobot_env.sh makes.

bash scripts/make_lerobot_env.sh && .venv_lerobot/bin/python -m pytest tests/plugins/test_lerobot.py
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2act.config.load import load_experiment, load_network
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import make_env
from sam2act.evaluation.actors import PolicyActor, Turn
from sam2act.evaluation.scenes import fresh_scenes
from sam2act.policies.checkpoint import PolicyBundle, build_policy, load_policy
from sam2act.policies.executors import build_executor
from sam2act.policies.hub_folder import write_hub_folder
from sam2act.policies.session import PolicySession, trained_encoder
from tests.places import REPOSITORY
from tests.plugins.conftest import DISTRIBUTIONS, PLUGINS

SCENES, TASK, SIDE = 7000, "put_block_back", 32


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_names_are_those_that_lerobot_looks_for(name: str) -> None:
    """It imports the module that is called like the distribution, underscores included."""
    text = (PLUGINS / name / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf'^name = "{name}"$', text, re.M)
    assert (PLUGINS / name / name / "__init__.py").is_file()


def test_script_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    script = REPOSITORY / "scripts" / "make_lerobot_env.sh"
    done = subprocess.run(["bash", script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 1 and "was not made by this script" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture
def env_config(plugins: dict[str, Any]) -> Any:
    kind = plugins["lerobot_env_sam2act"].Sam2ActEnv
    return kind(task=TASK, image_size=SIDE, scene_set=SCENES)


def fresh_bundle() -> PolicyBundle:
    experiment = load_experiment("configs/tiny_plus.yaml", f"image_size {SIDE}")
    bundle = build_policy(experiment, load_network("configs/mvt/tiny_plus.yaml"), seed=5)
    bundle.stage = 2
    return bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hub")
    write_hub_folder(place, fresh_bundle(), "card")
    return place


@pytest.fixture
def policy(folder: Path, env_config: Any) -> Any:
    """As lerobot-eval makes it."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import make_policy

    config = PreTrainedConfig.from_pretrained(folder, cli_overrides=["--device=cpu"])
    config.pretrained_path = folder
    return make_policy(config, env_cfg=env_config)


def seen_by(envs: Any, policy: Any, folder: Path, observation: Any) -> dict[str, Any]:
    """What lerobot-eval hands to the policy."""
    from lerobot.envs.utils import add_envs_task, preprocess_observation
    from lerobot.policies.factory import make_pre_post_processors

    before, _ = make_pre_post_processors(policy.config, pretrained_path=str(folder))
    batch: dict[str, Any] = before(add_envs_task(envs, preprocess_observation(observation)))
    return batch


# -------------------------------------------------------------------------------- environment
def test_environment_has_what_rollouts_ask_for(env_config: Any) -> None:
    from lerobot.envs.factory import make_env as lerobot_env
    from lerobot.envs.utils import env_to_policy_features, preprocess_observation

    envs = lerobot_env(env_config, n_envs=2)["sam2act"][0]
    observation, _ = envs.reset(seed=[0, 1])
    ours = make_env(EnvConfig(TASK, image_size=SIDE))
    batch = preprocess_observation(observation)
    for row, scene in enumerate(fresh_scenes(TASK, SCENES, [0, 1])):
        _, _, instructions, first = scene.begin(ours)
        frame, state = first.frame(), batch["observation.robot_state"]
        pixels = (batch["observation.images.wrist"][row] * 255).round().permute(1, 2, 0)
        assert np.array_equal(pixels.numpy(), frame.rgb["wrist"])
        assert np.array_equal(state["depth"]["front"][row], frame.depth["front"])
        assert np.array_equal(state["intrinsics"]["wrist"][row], frame.intrinsics["wrist"])
        assert np.array_equal(state["extrinsics"]["wrist"][row], frame.extrinsics["wrist"])
        assert envs.call("task_description")[row] == instructions[0]
        assert hasattr(envs.envs[row], "task_description")
    assert state["is_first"].tolist() == [[1], [1]]
    assert envs.call("_max_episode_steps") == (25, 25)
    features = env_to_policy_features(env_config)
    assert features["observation.images.front"].shape == (3, SIDE, SIDE)
    assert features["action"].shape == envs.single_action_space.shape == (9,)
    envs.close()


def test_env_hub_makes_the_same(env_config: Any) -> None:
    from lerobot.envs.utils import _call_make_env, _import_hub_module, _normalize_hub_result

    module = _import_hub_module(str(PLUGINS / "lerobot_env_sam2act" / "env.py"), "someone/tasks")
    for config in (None, env_config):
        made = _call_make_env(module, n_envs=1, use_async_envs=False, cfg=config)
        envs = _normalize_hub_result(made)["sam2act"][0]
        side = 128 if config is None else SIDE
        assert envs.single_observation_space["pixels"]["front"].shape == (side, side, 3)
        assert envs.call("task") == (TASK,)
        envs.close()


# ------------------------------------------------------------------------------------- policy
def test_rows_act_as_our_evaluation_and_begin_anew_when_told(
    policy: Any, folder: Path, env_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = env_config.create_envs(n_envs=2)["sam2act"][0]
    bundle = load_policy(folder)
    session = PolicySession(bundle, batch_size=1, text_encoder=trained_encoder(bundle))
    actor = PolicyActor(build_executor("single", session), session.spec)
    ours = [make_env(EnvConfig(TASK, image_size=SIDE)) for _ in range(2)]
    policy.reset()
    observation, _ = envs.reset(seed=[0, 1])
    scenes = fresh_scenes(TASK, SCENES, [0, 1])
    begun = [scene.begin(env) for scene, env in zip(scenes, ours, strict=True)]
    for row, scene in enumerate(scenes):
        actor.begin(row, scene)
    turns = [Turn(row, b[3], b[2][0], 0) for row, b in enumerate(begun)]
    expected = torch.tensor(np.stack(actor.act(turns))).float()
    batch = seen_by(envs, policy, folder, observation)
    assert torch.equal(policy.select_action(batch), expected)
    begun_rows: list[int] = []
    monkeypatch.setattr(policy._actor, "begin", lambda row, scene: begun_rows.append(row))
    flags = batch["observation.robot_state"]["is_first"]
    for anew in ([0, 0], [0, 1]):
        flags[:] = torch.tensor(anew)[:, None]
        policy.select_action(batch)
    assert begun_rows == [1]
    flags[:] = 0
    policy.reset()
    policy.select_action(batch)
    assert begun_rows == [1, 0, 1]
    envs.close()


def test_saved_policy_is_an_exported_folder(policy: Any, tmp_path: Path) -> None:
    policy.save_pretrained(tmp_path)
    before, after = fresh_bundle(), load_policy(tmp_path)
    assert (after.stage, after.network) == (2, before.network)
    state = after.model_state()
    assert all(torch.equal(value, state[name]) for name, value in before.model_state().items())
