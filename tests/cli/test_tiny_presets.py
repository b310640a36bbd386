"""Tiny presets of multi-view policies train, save, resume and act in the embedded simulator."""

from __future__ import annotations

import contextlib
import runpy
from pathlib import Path

import pytest
import torch

from sam2act.cli import train
from sam2act.config.load import load_experiment, load_network
from sam2act.core.run_folder import RunFolder
from sam2act.envs.base import EnvConfig, EnvError
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.policy_inputs import policy_observation
from sam2act.language.text_encoder import build_text_encoder
from sam2act.policies.checkpoint import load_policy, read_checkpoint
from sam2act.policies.multiview.config import MultiviewConfig
from sam2act.policies.session import PolicySession
from tests.places import REPOSITORY
from tests.training import tiny_run

# Those of stage 2, and those that act at frame rate, have tests of their own.
PRESETS = sorted(
    path.stem
    for path in (REPOSITORY / "configs" / "mvt").glob("tiny*.yaml")
    if "_plus" not in path.stem
    and not path.stem.endswith("_stages")
    and isinstance(config := load_network(path), MultiviewConfig)
    and not getattr(config, "gives_chunks", False)
)
SCRIPT = REPOSITORY / "scripts" / "try_presets.py"
CAMERAS, IMAGE_SIZE = ("front", "wrist"), 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demos for all presets, and the runs."""
    folder = tmp_path_factory.mktemp("presets")
    tiny_run.write_demos(folder, episodes=2)
    return folder


@pytest.fixture(scope="module")
def environment() -> EmbeddedEnv:
    return EmbeddedEnv(EnvConfig("open_drawer", cameras=CAMERAS, image_size=IMAGE_SIZE))


def run(folder: Path, preset: str, epochs: int) -> RunFolder:
    """Train for `epochs` updates of two samples."""
    opts = tiny_run.experiment_opts(folder, f"bs 2 train_iter 2 epochs {epochs} exp_name {preset}")
    arguments = [
        f"--exp_cfg_path=configs/{preset}.yaml",
        f"--mvt_cfg_path=configs/mvt/{preset}.yaml",
        f"--exp_cfg_opts={opts} exp_id smoke",
        "--mvt_cfg_opts=depth 2 data.points 256",
        f"--log-dir={folder}/runs",
        "--device=cpu",
    ]
    assert train.main(arguments) == 0
    return RunFolder(folder / "runs" / f"smoke_{preset}")


@pytest.mark.parametrize("preset", PRESETS)
def test_tiny_presets_train_resume_and_act(
    folder: Path, environment: EmbeddedEnv, preset: str
) -> None:
    path = run(folder, preset, epochs=1).folder / "model_last.pth"
    first = read_checkpoint(path)
    run(folder, preset, epochs=2)
    second = read_checkpoint(path)
    assert (first["extra"]["step"], second["extra"]["step"]) == (1, 2)
    before, after = first["model_state"], second["model_state"]
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)

    bundle = load_policy(path)
    spec = bundle.policy.spec
    assert spec.language is not None
    texts = build_text_encoder(
        bundle.experiment.language, spec.language.length, spec.language.width
    )
    session = PolicySession(bundle, text_encoder=texts)
    session.reset()
    instructions, seen = environment.reset(variation=0, seed=1)
    action = session.act(policy_observation([seen], spec, [0]), instructions[:1])
    assert action.valid.all() and action.values.isfinite().all()
    with contextlib.suppress(EnvError):  # an untrained policy may ask for the impossible
        assert environment.step(action.values[0, 0].numpy()).reward in (0.0, 1.0)


def test_the_script_for_longer_runs_knows_all_of_them(tmp_path: Path) -> None:
    script = runpy.run_path(str(SCRIPT))
    assert set(script["PRESETS"]) == set(PRESETS)
    half, whole, acting = (step.command for step in script["steps_of"]("tiny_rvt2", tmp_path))
    options = [command[command.index("--exp_cfg_opts") + 1] for command in (half, whole)]
    first, second = (load_experiment("configs/tiny.yaml", text) for text in options)
    assert (first.epochs, second.epochs) == (1, 2) and first.train_iter // first.bs == 10
    assert "eval" in acting and str(tmp_path / "runs" / "try_tiny_rvt2") in acting
