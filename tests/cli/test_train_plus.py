"""The second-stage entry point: where it starts, what it trains, what it refuses."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sam2act.cli import train_plus
from sam2act.config.load import changed, load_experiment, load_network
from sam2act.config.tasks import data_folder
from sam2act.policies.base import NoState
from sam2act.policies.checkpoint import load_policy, read_checkpoint
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.policy import SAM2ActPolicy
from sam2act.policies.sam2act.stages import published_samples
from sam2act.training.budget import TrainingBudget
from tests.golden_files import plain_id
from tests.places import REPOSITORY
from tests.training import tiny_run

KEYFRAMES = (12, 17, 23, 29)
WINDOW = 3
TARGET_ENTROPY = 3.6  # of a target map: a Gaussian of 1.5 pixels, cut off at three sigma
NETWORK = f"num_maskmem {WINDOW - 1} memory_mask_size 16 memory_dim 8 memory_hidden 16"
PLUS = f"bs {2 * WINDOW} train_iter {6 * WINDOW} epochs 1 peract.cache_frozen_features False "
PLUS += "peract.transform_augmentation True"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Demos of four keyframes and a stage-1 run."""
    folder = tmp_path_factory.mktemp("plus")
    tiny_run.write_demos(folder, keyframes=KEYFRAMES, task="put_block_back")
    network = "num_maskmem 5"  # stage 2 may have another number
    assert tiny_run.run(folder, "tasks put_block_back epochs 1", network) == 0
    return folder


def arguments(folder: Path, more: str = "", network: str = "") -> list[str]:
    parts = tiny_run.arguments(folder, f"{PLUS} {more}", f"{NETWORK} {network}")
    parts[0] = "--exp_cfg_path=configs/tiny_plus.yaml"
    parts[1] = "--mvt_cfg_path=configs/mvt/tiny_plus.yaml"
    return parts


def run(folder: Path, more: str = "", network: str = "", flags: tuple[str, ...] = ()) -> int:
    return train_plus.main([*arguments(folder, more, network), *flags])


def from_stage_one(folder: Path) -> tuple[str, ...]:
    return (f"--init-from={tiny_run.run_folder(folder)}/model_last.pth",)


def test_starts_from_the_stage_one_run_of_the_same_folder(folder: Path, caplog) -> None:
    caplog.set_level("INFO", logger="sam2act")
    assert run(folder) == 0
    report = next(r.getMessage() for r in caplog.records if "starting from stage 1" in r.message)
    assert "start fresh" in report and "sam2.maskmem_tpos_enc" in report
    assert "mvt1.pos_encoding" not in report
    written = {path.name for path in tiny_run.run_folder(folder).iterdir()}
    assert {"model_plus_0.pth", "model_plus_last.pth", "metrics_plus.csv"} <= written
    assert {"exp_cfg_plus.yaml", "mvt_cfg_plus.yaml", "args_plus.yaml", "metrics.csv"} <= written


def test_only_the_published_parts_are_trained(folder: Path) -> None:
    more = "exp_name parts peract.lr 1e-3"
    assert run(folder, more, "memory_init reference", from_stage_one(folder)) == 0
    before = read_checkpoint(tiny_run.run_folder(folder) / "model_last.pth")["model_state"]
    path = tiny_run.run_folder(folder, "parts") / "model_plus_last.pth"
    after = read_checkpoint(path)["model_state"]
    changed = {n for n, v in before.items() if n in after and not torch.equal(v, after[n])}
    assert changed and all(name.startswith("mvt1.up0.") for name in changed)
    assert "memory" in load_policy(path).policy.parts()


def test_without_stage_one_it_ends_unless_waived(folder: Path, capsys) -> None:
    assert run(folder, "exp_name alone") == 2
    message = capsys.readouterr().err
    assert "--init-from" in message and "--from-scratch" in message
    assert run(folder, "exp_name alone", flags=("--from-scratch",)) == 0


@pytest.mark.parametrize(
    ("more", "network", "message"),
    [
        ("", "use_memory False", "use_memory: True"),
        ("bs 4", "", "window of 3 keyframes (num_maskmem + 1); set bs to 3"),
        ("sample_distribution_mode task_uniform", "", "demo_uniform_temporal"),
        ("bs 6", "num_maskmem 5", "num_maskmem"),
        ("peract.cache_frozen_features True", "", "transform_augmentation"),
        (
            "peract.cache_frozen_features True peract.transform_augmentation False",
            "encoder sam2 lora_finetune False sam2_ckpt '' sam2_config sam2.1_hiera_t.yaml "
            "encoder_trainable none upsampler_channels [64,32] stage_two_freeze_skip_convs False",
            "stage_two_freeze_skip_convs",
        ),
    ],
    ids=plain_id,
)
def test_impossible_settings_are_refused(folder: Path, capsys, more, network, message) -> None:
    flags = ("--from-scratch",)
    assert run(folder, f"exp_name refused {more}", network, flags) == 2
    assert message in capsys.readouterr().err


def test_a_window_longer_than_every_episode_names_the_longest(folder: Path, capsys) -> None:
    assert run(folder, "exp_name long bs 6", "num_maskmem 5", ("--from-scratch",)) == 2
    message = capsys.readouterr().err
    assert "4" in message and "num_maskmem" in message and "bs" in message


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    """Rows of the log with figures of training, without what depends on the clock."""
    with open(tiny_run.run_folder(folder, name) / "metrics_plus.csv", newline="") as stream:
        found = [row for row in csv.DictReader(stream) if row["total_loss"]]
    for row in found:
        row.pop("samples_per_second")
    return found


def losses(folder: Path, name: str) -> list[str]:
    return [row["total_loss"] for row in rows(folder, name)]


@pytest.mark.parametrize("cached", [False, True])
def test_log_tells_the_excess_loss_of_every_keyframe(folder: Path, cached: bool) -> None:
    """Windows of whole episodes: every keyframe is in every update, and they share the loss."""
    window = len(KEYFRAMES)
    more = f"exp_name excess{cached} bs {2 * window} train_iter {6 * window} "
    more += f"peract.transform_augmentation False peract.cache_frozen_features {cached}"
    assert run(folder, more, f"num_maskmem {window - 1}", from_stage_one(folder)) == 0
    logged = rows(folder, f"excess{cached}")
    names = [name for name in logged[0] if name.startswith("excess")]
    assert names == [f"excess_keyframe_{index}" for index in range(window)]
    for row in logged:
        values = [float(row[name]) for name in names]
        assert len(set(values)) == window and min(values) > 0
        entropy = float(row["total_loss"]) - sum(values) / window
        assert entropy == pytest.approx(TARGET_ENTROPY, abs=0.1)


def test_cached_features_give_the_losses_of_computed_ones(folder: Path) -> None:
    more = "peract.transform_augmentation False epochs 2"
    for name, cached in (("computed", False), ("cached", True)):
        option = f"exp_name {name} peract.cache_frozen_features {cached}"
        assert run(folder, f"{more} {option}", flags=from_stage_one(folder)) == 0
    computed, cached = losses(folder, "computed"), losses(folder, "cached")
    assert [float(x) for x in cached] == pytest.approx([float(x) for x in computed], abs=1e-4)


@pytest.mark.parametrize("option", ["shared_draws", "rigid"])
def test_sequence_augmentation_changes_the_run(folder: Path, option: str) -> None:
    for name in ("independent", option):
        more = f"exp_name sequence_{name} peract.sequence_augmentation {name}"
        assert run(folder, more, flags=from_stage_one(folder)) == 0
    assert losses(folder, f"sequence_{option}") != losses(folder, "sequence_independent")


def test_upsampler_rate_is_scaled(folder: Path) -> None:
    changes = {}
    start = read_checkpoint(tiny_run.run_folder(folder) / "model_last.pth")["model_state"]
    for scale in (1.0, 0.01):
        more = f"exp_name scale{scale} peract.upsampler_lr_scale {scale}"
        assert run(folder, more, flags=from_stage_one(folder)) == 0
        path = tiny_run.run_folder(folder, f"scale{scale}") / "model_plus_last.pth"
        name = "mvt1.up0.0.net_out.0.weight"
        changes[scale] = (read_checkpoint(path)["model_state"][name] - start[name]).abs().max()
    assert changes[0.01] < 0.1 * changes[1.0]


def test_resume_repeats_the_uninterrupted_run(folder: Path) -> None:
    flags = from_stage_one(folder)
    assert run(folder, "exp_name whole epochs 2", flags=flags) == 0
    assert run(folder, "exp_name part epochs 2 train_iter 18", flags=flags) == 0
    last = tiny_run.run_folder(folder, "part")
    (last / "model_plus_last.pth").write_bytes((last / "model_plus_0.pth").read_bytes())
    assert run(folder, "exp_name part epochs 2", flags=flags) == 0
    assert rows(folder, "part") == rows(folder, "whole")
    seen = [f"excess_keyframe_{index}" for index in range(WINDOW)]
    assert all(row[name] for row in rows(folder, "part") for name in seen)


def test_validation_uses_whole_windows(folder: Path) -> None:
    more = "exp_name held_out validation.split train validation.demo 1 validation.demo_start 2"
    assert run(folder, more, flags=from_stage_one(folder)) == 0
    assert (tiny_run.run_folder(folder, "held_out") / "model_plus_best.pth").is_file()


def test_acting_without_a_past_equals_an_empty_bank(folder: Path) -> None:
    path = tiny_run.run_folder(folder) / "model_last.pth"
    bundle = load_policy(path)
    assert bundle.policy.initial_state(2) == NoState()
    assert run(folder, "exp_name act", flags=from_stage_one(folder)) == 0
    plus = load_policy(tiny_run.run_folder(folder, "act") / "model_plus_last.pth").policy
    bank = plus.initial_state(2)
    assert isinstance(bank, MemoryBank) and bank.count.tolist() == [0, 0]


PRESETS = {"put_block_back": 10, "rearrange_block": 10, "reopen_drawer": 10, "reopen_drawer_v1": 8}


@pytest.mark.parametrize("preset", PRESETS)
def test_task_files_fit_together(preset: str) -> None:
    task, name = f"configs/tasks/{preset}.yaml", preset.removesuffix("_v1")
    experiment = load_experiment("configs/sam2act_plus.yaml", task_path=task)
    network = load_network("configs/mvt/sam2act_plus.yaml", task_path=task)
    assert experiment.tasks == name
    assert experiment.bs == network.num_maskmem + 1 == PRESETS[preset]
    assert published_samples(network) == 32 * PRESETS[preset]
    SAM2ActPolicy.check_stage(2, experiment, network)
    corrected = load_network("configs/mvt/sam2act_plus_corrected.yaml", task_path=task)
    SAM2ActPolicy.check_stage(
        2, load_experiment("configs/sam2act_plus_corrected.yaml", "", task), corrected
    )


@pytest.mark.parametrize("preset", ["sam2act_plus", "sam2act_plus_corrected"])
def test_a_window_of_push_same_button_is_a_whole_episode(preset: str) -> None:
    task = "configs/tasks/push_same_button.yaml"
    experiment = load_experiment(f"configs/{preset}.yaml", task_path=task)
    network = load_network(f"configs/mvt/{preset}.yaml", task_path=task)
    SAM2ActPolicy.check_stage(2, experiment, network)
    assert experiment.tasks == "push_same_button"
    assert experiment.bs == network.num_maskmem + 1 == 5


@pytest.mark.parametrize(
    ("name", "keyframes", "episodes"),
    [
        *(("put_block_back", 12, 4), ("rearrange_block", 11, 4), ("reopen_drawer", 9, 4)),
        *(("push_same_button", 5, 8), ("open_drawer", 3, 16)),
    ],
)
def test_task_files_of_the_tiny_network_fit_together(
    name: str, keyframes: int, episodes: int
) -> None:
    """Whole episodes per update, at the same rate for every task."""
    task = f"configs/tasks/tiny_{name}.yaml"
    experiment = load_experiment("configs/tiny_plus.yaml", task_path=task)
    network = load_network("configs/mvt/tiny_plus.yaml", task_path=task)
    SAM2ActPolicy.check_stage(2, experiment, network)
    assert experiment.tasks == name and network.num_maskmem + 1 == keyframes
    assert experiment.bs == episodes * keyframes
    plan = TrainingBudget.from_config(experiment, 1)
    assert plan.updates_per_epoch == 20
    assert plan.learning_rate == pytest.approx(4e-3)


def test_presets_of_the_paper() -> None:
    released = load_experiment("configs/sam2act_plus.yaml")
    paper = load_experiment("configs/sam2act_plus_paper.yaml")
    rates = [TrainingBudget.from_config(e, 32).learning_rate for e in (released, paper)]
    assert rates == pytest.approx([4e-4, 4e-3])
    assert changed(paper, "peract.lr 1.25e-6") == released
    stage_one = load_experiment("configs/sam2act_memorybench.yaml")
    assert changed(stage_one, "tasks all epochs 90") == load_experiment("configs/sam2act.yaml")
    assert stage_one.epochs == 10 and data_folder(stage_one) == "data_memory"
    assert (stage_one.exp_id, stage_one.exp_name) == (paper.exp_id, paper.exp_name)
    SAM2ActPolicy.check_stage(1, stage_one, load_network("configs/mvt/sam2act.yaml"))
    assert published_samples(load_network("configs/mvt/sam2act.yaml")) == 256
    assert published_samples(load_network("configs/mvt/sam2act_plus.yaml")) == 320
    assert published_samples(load_network("configs/mvt/tiny_plus.yaml")) == 320


def test_help_teaches() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sam2act.train_plus", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "--from-scratch" in done.stdout and "stage-1" in done.stdout
