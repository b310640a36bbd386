"""Commands as a user types them, where the distribution of `dummy_plugins/` is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.places import REPOSITORY

DISTRIBUTION = Path(__file__).parent / "dummy_plugins"


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python process in `folder` that finds this package and the plug-ins."""
    path = os.pathsep.join([str(DISTRIBUTION), str(REPOSITORY)])
    variables = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )


def sam2act(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of `sam2act`, which must end well."""
    done = python(folder, "-m", "sam2act", *arguments)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done


EXPERIMENT = """\
tasks: reach_goal
source: reach_source
exp_id: reach
exp_name: {name}
bs: 16
epochs: {epochs}
train_iter: 640
demo: 60
log_every: 10
sample_distribution_mode: transition_uniform
store_folder: store
transforms: {transforms}
validation: {{demo: 8, split: val}}
language: {{encoder: hashed}}
peract: {{optimizer_type: adam, lr: 0.0003, transform_augmentation: false}}
"""


def write_configs(
    folder: Path, name: str = "run", epochs: int = 2, transforms: str = "[]"
) -> list[str]:
    """Configuration files of a training in `folder`; the arguments that name them."""
    text = EXPERIMENT.format(name=name, epochs=epochs, transforms=transforms)
    (folder / f"{name}.yaml").write_text(text)
    (folder / "chunker.yaml").write_text("policy: chunker\nwidth: 32\n")
    return [
        *("--exp-cfg-path", f"{name}.yaml", "--mvt-cfg-path", "chunker.yaml"),
        *("--log-dir", "runs", "--device", "cpu"),
    ]


def evaluation(task: str = "reach_goal", episodes: int = 10, name: str = "run") -> list[str]:
    """Arguments of an evaluation of the last checkpoint in the environment of the plug-in."""
    return [
        *("--model-folder", f"runs/reach_{name}", "--model-name", "model_last.pth"),
        *("--backend", "reach", "--seed", "3", "--tasks", task, "--device", "cpu"),
        *("--eval-episodes", str(episodes), "--workers", "1", "--log-name", task),
    ]
