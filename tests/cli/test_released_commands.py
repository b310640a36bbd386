"""The released command lines, from the root, from inside sam2act/ and from elsewhere.

A copy of the checkout holds demos where the released code has them, `sam2act/data_memory`, and
small stand-ins of the weight files in `assets/`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sam2act.language.cache import LanguageCache
from sam2act.language.text_encoder import ClipTextEncoder
from sam2act.nn.image_encoder import Sam2ImageEncoder
from sam2act.nn.sam2_sizes import HieraSizes
from sam2act.policies.checkpoint import read_checkpoint
from tests.config.test_values import RELEASED_EXPERIMENT, RELEASED_NETWORK, STAGE_ONE, STAGE_TWO
from tests.places import REPOSITORY

TASK = "put_block_back"
SIZES = HieraSizes(8, 1, (1, 1, 1, 1), (2,), (8, 4, 4, 2), (7, 7), 32)
HIERA = """model: {image_encoder: {trunk: {embed_dim: 8, num_heads: 1, stages: [1, 1, 1, 1],
  global_att_blocks: [2], window_spec: [8, 4, 4, 2], window_pos_embed_bkg_spatial_size: [7, 7]},
  neck: {d_model: 32}}}
"""
# Everything that makes the published network small; names, files and structure stay.
SMALL = "depth 2 attn_dim 16 attn_heads 2 attn_dim_head 8 im_channels 16 upsampler_channels [8,4] "
SMALL += "head_hidden [16,16] num_maskmem 1 memory_layers 1 memory_hidden 16 memory_mask_size 32"
SHORT = "train_iter 2 epochs 1 num_workers 0 wandb False demo 1 bs 2"

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("hydra", "mujoco")),
    reason="hydra or mujoco is not installed (extras hydra, sim)",
)


class FixedFeatures:
    """Stands for CLIP: the name of the stand-in weights, features of zeros."""

    family = ClipTextEncoder.family

    def __init__(self, weights: Path) -> None:
        self.name = ClipTextEncoder(str(weights)).name

    def encode(self, texts: list[str]) -> torch.Tensor:
        return torch.zeros(len(texts), 77, 512)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with released yaml files, demos and stand-in weights."""
    root = tmp_path_factory.mktemp("released") / "checkout"
    skip = shutil.ignore_patterns("__pycache__", "data_memory", "runs", "assets")
    for name in ("sam2act", "configs", "scripts"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=skip)
    released = root / "sam2act" / "mvt" / "configs"
    released.mkdir(parents=True)
    (root / "hiera_of_the_test.yaml").write_text(HIERA)
    for name, values, memory in (("sam2act", STAGE_ONE, False), ("sam2act_plus", STAGE_TWO, True)):
        (released / f"{name}.yaml").write_text(RELEASED_NETWORK.format(memory=memory))
        experiment = RELEASED_EXPERIMENT.format(**values)
        (root / "configs" / f"{name}.yaml").write_text(experiment)
    write_weights(root / "assets")
    # The copy comes before whatever the environment has installed, in every process.
    start = f"import sys\nsys.path.insert(0, {str(root)!r})\n"
    (root.parent / "sitecustomize.py").write_text(start)
    run(
        root,
        "scripts/generate_demos.py",
        *("--tasks", TASK, "--episodes", "1", "--output", "sam2act/data_memory/train"),
    )
    return root


def write_weights(assets: Path) -> None:
    """A SAM 2.1 file of tiny sizes, a file in place of CLIP, and what CLIP would have made."""
    torch.manual_seed(0)
    encoder = Sam2ImageEncoder(SIZES)
    state = {f"image_encoder.{k}": v for k, v in encoder.state_dict().items() if "conv_s" not in k}
    assets.mkdir()
    torch.save({"model": state}, assets / "sam2.1_hiera_base_plus.pt")
    (assets / "RN50.pt").write_bytes(b"stands for CLIP")


def run(folder: Path, *command: object) -> str:
    """What a command prints; `folder` is the working directory."""
    root = next(p for p in (folder, *folder.parents) if (p / "checkout").is_dir()) / "checkout"
    environment = os.environ | {"PYTHONPATH": str(root.parent), "OMP_NUM_THREADS": "1"}
    environment.pop("SAM2ACT_ASSETS", None)
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


PLACES = {"root": ".", "inside": "sam2act", "elsewhere": "../elsewhere"}


@pytest.mark.parametrize("place", PLACES)
def test_training_memory_and_evaluation(checkout: Path, place: str) -> None:
    folder = checkout / PLACES[place]
    folder.mkdir(exist_ok=True)
    programs = (
        checkout / "sam2act"
        if place == "elsewhere"
        else Path("sam2act" if place == "root" else ".")
    )
    small = f"sam2_config {checkout}/hiera_of_the_test.yaml {SMALL}"
    networks = checkout / "sam2act" / "mvt" / "configs"
    flags = ("--device", "cpu", "--mvt_cfg_opts", small)

    experiment = f"{SHORT} tasks {TASK} exp_name {place} language.cache {folder}/clip.safetensors"
    remember_clip(folder / "clip.safetensors", checkout / "assets" / "RN50.pt")
    started = () if place == "elsewhere" else ("-m", "torch.distributed.run", "--standalone")
    said = run(
        folder,
        *(*started, programs / "train.py", *flags, "--exp_cfg_path", "configs/sam2act.yaml"),
        *("--mvt_cfg_path", networks / "sam2act.yaml", "--exp_cfg_opts", experiment),
    )
    assert "the published run used 256 samples per update" in said
    assert "data_memory lies among the source files" in said
    trained = folder / "runs" / f"sam2act_{place}"
    state = read_checkpoint(trained / "model_last.pth")["model_state"]
    weights = torch.load(checkout / "assets" / "sam2.1_hiera_base_plus.pt")["model"]
    name = "image_encoder.trunk.patch_embed.proj.weight"
    assert torch.equal(state[f"sam2.{name}"], weights[name]), "the encoder came from assets/"

    model = "model_last"
    if place == "inside":  # the folder of the released commands
        model = "model_plus_last"
        said = run(
            folder,
            *(programs / "train_plus.py", *flags, "--exp_cfg_path", "configs/sam2act_plus.yaml"),
            *("--mvt_cfg_path", networks / "sam2act_plus.yaml", "--exp_cfg_opts", experiment),
        )
        assert "the published run used 320 samples per update" in said

    run(
        folder,
        *(programs / "eval.py", "--model-folder", trained, "--model-name", f"{model}.pth"),
        *("--tasks", TASK, "--eval-datafolder", checkout / "sam2act" / "data_memory" / "train"),
        *("--eval-episodes", "1", "--episode-length", "1", "--log-name", "test/1"),
        *("--device", "cpu", "--headless", "--exp_cfg_opts", "language.encoder hashed"),
    )
    table = trained / "eval" / "test" / "1" / model / "eval_results.csv"
    assert table.read_text().startswith("task,success rate,length,total_transitions")


def remember_clip(cache: Path, weights: Path) -> None:
    """Features under the name of the stand-in for CLIP, so that nobody has to run CLIP."""
    from sam2act.envs.base import EnvConfig
    from sam2act.envs.registry import make_env

    env = make_env(EnvConfig(TASK))
    texts = {text for variation in range(4) for text in env.reset(variation, seed=0)[0]}
    env.close()
    LanguageCache(cache).table(sorted(texts), FixedFeatures(weights))


def test_missing_weights_name_a_command_that_works_there(checkout: Path) -> None:
    """From inside sam2act/ the remedy starts with ../scripts."""
    hidden = checkout / "assets.hidden"
    (checkout / "assets").rename(hidden)
    try:
        with pytest.raises(AssertionError) as caught:
            run(
                checkout / "sam2act",
                *("train.py", "--device", "cpu", "--exp_cfg_path", "configs/sam2act.yaml"),
                *("--mvt_cfg_path", "mvt/configs/sam2act.yaml"),
                *("--exp_cfg_opts", f"{SHORT} tasks {TASK} exp_name absent"),
            )
    finally:
        hidden.rename(checkout / "assets")
    text = str(caught.value)
    command = "python ../scripts/download_assets.py sam2-base-plus --output ../assets"
    assert command in text and "Traceback" not in text
    assert str(checkout / "assets" / "sam2.1_hiera_base_plus.pt") in text
    assert not (checkout / "sam2act" / "runs" / "sam2act_absent").exists()
