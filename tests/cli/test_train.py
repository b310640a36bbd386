"""The entry point: flags, released configs, other cameras, sizes and bounds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sam2act.cli import train
from sam2act.policies.checkpoint import read_checkpoint
from tests.golden_files import plain_id
from tests.places import REPOSITORY
from tests.small_encoder import SMALL_ENCODER
from tests.training import tiny_run

SIX_CAMERAS = ("front", "left_shoulder", "right_shoulder", "wrist", "overhead", "side")


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "sam2act/train.py"],
        [sys.executable, "-m", "sam2act.train"],
        [sys.executable, "train.py"],
    ],
    ids=["path", "module", "inside"],
)
def test_help_works_three_ways(command: list[str]) -> None:
    inside = command[-1] == "train.py"
    done = subprocess.run(
        [*command, "--help"],
        cwd=REPOSITORY / "sam2act" if inside else REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "--exp_cfg_opts" in done.stdout and "resumes" in done.stdout


@pytest.mark.parametrize(
    ("cameras", "image_size", "bounds"),
    [
        (("front",), 16, (-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)),
        (SIX_CAMERAS, 16, (-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)),
        (("front", "wrist"), 256, (-0.1, -0.4, 0.7, 0.6, 0.4, 1.5)),
    ],
    ids=["one-camera", "six-cameras", "256-px-other-bounds"],
)
def test_two_steps_with_other_data_shapes(tmp_path, cameras, image_size, bounds) -> None:
    tiny_run.write_demos(tmp_path, cameras=cameras, image_size=image_size, episodes=2)
    more = f"cameras [{','.join(cameras)}] image_size {image_size} train_iter 8 epochs 1 "
    more += f"scene_bounds [{','.join(map(str, bounds))}]"
    assert tiny_run.run(tmp_path, more) == 0
    saved = read_checkpoint(tiny_run.run_folder(tmp_path) / "model_last.pth")
    assert saved["extra"]["step"] == 2
    assert saved["extra"]["experiment"]["scene_bounds"] == list(bounds)


def test_published_structure_takes_two_steps_with_released_keys(tmp_path, caplog) -> None:
    tiny_run.write_demos(tmp_path, episodes=2)
    arguments = [
        "--exp_cfg_path=configs/sam2act.yaml",
        "--mvt_cfg_path=mvt/configs/sam2act.yaml",
        f"--exp_cfg_opts={tiny_run.experiment_opts(tmp_path)} bs 2 train_iter 4 epochs 1 "
        "tasks open_drawer num_workers 0 language.encoder hashed",
        "--mvt_cfg_opts=sam2_ckpt '' depth 2 attn_dim 32 attn_heads 2 attn_dim_head 16 "
        f"im_channels 16 {SMALL_ENCODER}",
        f"--log-dir={tmp_path}/runs",
        "--device=cpu",
    ]
    assert train.main(arguments) == 0
    state = read_checkpoint(tmp_path / "runs" / "sam2act_test" / "model_last.pth")["model_state"]
    assert "mvt2.sam2.image_encoder.trunk.blocks.0.attn.qkv.linear_b_q.weight" in state
    # The published optimiser cannot move a tensor of norm zero: LoRA stays the identity.
    assert not state["sam2.image_encoder.trunk.blocks.0.attn.qkv.linear_b_q.weight"].any()


@pytest.mark.parametrize(
    ("more", "network", "message"),
    [
        ("", "use_memory True", "use_memory"),
        ("", "num_rot 36", "num_rotation_classes"),
        ("tasks no_such_task", "", "no_such_task"),
        ("bs 1", "", "BatchNorm"),
        ("sample_distribution_mode demo_uniform_temporal bs 8", "num_maskmem 7", "num_maskmem"),
        ("resume absent.pth", "", "absent.pth"),
        ("", "renderer.backend cuda", "renderer.backend"),
        ("", "attention_backend xformers", "attention_backend"),
        ("peract.same_trans_aug_per_seq True", "", "same_trans_aug_per_seq"),
        ("language.encoder clip", "", "language"),
    ],
    ids=plain_id,
)
def test_impossible_runs_end_at_the_start_with_a_remedy(
    tmp_path, capsys, more, network, message
) -> None:
    tiny_run.write_demos(tmp_path, episodes=2)
    assert tiny_run.run(tmp_path, more, network) == 2
    assert message in capsys.readouterr().err


def test_missing_sam2_file_says_where_to_get_it(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_run.write_demos(tmp_path, episodes=2)
    arguments = tiny_run.arguments(tmp_path)
    arguments[1] = "--mvt_cfg_path=configs/mvt/sam2act.yaml"
    arguments[3] = "--mvt_cfg_opts="
    assert train.main(arguments) == 2
    assert "download_assets.py" in capsys.readouterr().err
