"""Films of scripts and of policies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam2act.cli.play import film_episode, main
from sam2act.config.load import load_experiment, load_network
from sam2act.data.rlbench.demos import read_episode
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.options import Options
from sam2act.envs.policy_inputs import policy_observation
from sam2act.envs.recording.demo_generation import Request, generate
from sam2act.envs.registry import make_env
from sam2act.language.text_encoder import build_text_encoder
from sam2act.policies.checkpoint import build_policy, config_extra, save_checkpoint
from sam2act.policies.session import PolicySession
from tests.in_process import run_main
from tests.places import SCRIPTS

STARTER = SCRIPTS / "play_demo.py"


def test_script_is_filmed_to_its_success(tmp_path: Path) -> None:
    path = tmp_path / "film.gif"
    flags = ("--task", "open_drawer", "--every", "20", "--output", str(path))
    done = subprocess.run([sys.executable, STARTER, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "solved after 3 keyframes" in done.stdout
    with Image.open(path) as film:
        assert film.n_frames > 3 and film.size == (512, 304)


def test_recorded_scene_is_played_again(tmp_path: Path) -> None:
    factors = ("table_color", "camera_pose")
    request = Request(
        ("reopen_drawer",), 1, tmp_path / "train", images="none", perturbations=factors
    )
    list(generate(request, workers=1))
    folder, path = request.episode_folder("reopen_drawer", 0), tmp_path / "film.webp"
    done = run_main(main, "--episode", folder, "--every", 40, "--output", path)
    assert done.returncode == 0, done.stderr
    assert "solved after 9 keyframes" in done.stdout
    demo = read_episode(folder).demo
    env = make_env(EnvConfig("reopen_drawer", options=Options(perturbations=factors)))
    expected = env.reset_to_demo(demo)[1].front_rgb
    with Image.open(path) as film:  # front view: first of the four small ones
        first = np.asarray(film.convert("RGB"))[:128, 256:384]
    assert np.abs(first[40:].astype(int) - expected[40:]).mean() < 12  # lossy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "open_drawer", "--output", "film.avi"], "film ends in"),
        (["--task", "open_drawr", "--output", "film.gif"], "did you mean open_drawer"),
        (["--task", "open_drawer", "--variation", "7", "--output", "film.gif"], "0 to 2, not 7"),
        (["--task", "open_drawer", "--seed", "-1", "--output", "film.gif"], "seed: -1 is negative"),
        (["--task", "open_drawer", "--every", "0", "--output", "film.gif"], "not a positive"),
        (["--task", "open_drawer", "--output", "/proc/no/film.gif"], "/proc/no"),
    ],
)
def test_impossible_requests_are_refused(arguments: list[str], message: str) -> None:
    done = run_main(main, *arguments)
    assert done.returncode == 2 and message in done.stderr


def test_policy_acts_on_what_the_environment_reports() -> None:
    experiment = load_experiment("configs/tiny.yaml")
    network = load_network("configs/mvt/tiny.yaml")
    encoder = build_text_encoder(experiment.language, network.lang_len, network.lang_dim)
    policy = PolicySession(build_policy(experiment, network), text_encoder=encoder)
    observations, instructions = [], []
    for task in ("open_drawer", "put_block_back"):
        descriptions, observation = make_env(EnvConfig(task)).reset(0, 0)
        observations.append(observation)
        instructions.append(descriptions[0])
    inputs = policy_observation(observations, policy.spec, [0, 3])
    assert inputs.proprioception[:, 3].tolist() == pytest.approx([1.0, 0.75])
    with torch.inference_mode():
        action = policy.act(inputs, instructions, env_ids=[0, 1]).values[:, 0]
    assert action.shape == (2, 9)
    env = make_env(EnvConfig("open_drawer"))
    assert torch.isfinite(action).all() and env.variation_count() == 3


def test_a_checkpoint_is_filmed(tmp_path: Path) -> None:
    experiment = load_experiment("configs/tiny.yaml")
    bundle = build_policy(experiment, load_network("configs/mvt/tiny.yaml"))
    checkpoint, path = tmp_path / "model_last.pth", tmp_path / "film.gif"
    content = {"epoch": 0, "model_state": bundle.model_state(), "extra": config_extra(bundle)}
    save_checkpoint(checkpoint, content)
    flags = ("--task", "open_drawer", "--checkpoint", checkpoint, "--every", 40)
    done = run_main(main, *flags, "--output", path)
    assert done.returncode == 0 and "frames" in done.stdout, done.stderr
    with Image.open(path) as film:
        assert film.n_frames >= 1 and film.size == (512, 304)


def test_dense_actions_are_filmed_as_steps() -> None:
    env = make_env(EnvConfig("open_drawer", cameras=()))
    env.reset(0, 0)
    still = np.array([0, 0, 0, 0, 0, 0, 1.0])
    frames, outcome = film_episode(env, iter([still, still]), every=1, control="ee_delta")
    assert outcome == "not solved" and len(frames) == 1 + 2 + 21
