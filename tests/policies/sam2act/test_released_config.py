"""Configs for the released code: its keys and types only, and a name for what it cannot do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from yacs.config import CfgNode

from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.policies.checkpoint import write_config
from sam2act.policies.sam2act.released_config import (
    EXPERIMENT_KEYS,
    NETWORK_KEYS,
    left_out,
    released_configs,
)
from tests.released_stand_in import experiment_defaults, network_defaults, read_configs


def keys(tree: CfgNode, prefix: str = "") -> set[str]:
    return {
        name
        for key, value in tree.items()
        for name in (
            keys(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else {f"{prefix}{key}"}
        )
    }


def test_the_tables_hold_the_released_keys() -> None:
    assert set(EXPERIMENT_KEYS) == keys(experiment_defaults())
    assert set(NETWORK_KEYS) == keys(network_defaults())


@pytest.mark.parametrize("suffix", ["", "_plus"])
def test_shipped_configs_are_merged_by_the_strict_stand_in(tmp_path: Path, suffix: str) -> None:
    opts = "resume old.pth seed 3 log_every 5 data_folder elsewhere"
    experiment = load_experiment(f"configs/sam2act{suffix}.yaml", opts)
    experiment = replace(experiment, exp_name="2024_11_28")  # yacs evaluates what looks like Python
    network = load_network(f"configs/mvt/sam2act{suffix}.yaml", "attention_backend sdpa")
    values = released_configs(experiment, network, training=True)
    for name, tree in zip(("exp", "mvt"), values, strict=True):
        write_config(tmp_path / f"{name}_cfg{suffix}.yaml", tree)
    there, net = read_configs(tmp_path, suffix)
    assert (there.bs, there.peract.lr) == (experiment.bs, experiment.peract.lr)
    assert there.peract.transform_augmentation_rpy == [0.0, 0.0, 45.0]
    assert there.resume == "" and there.exp_name == "2024_11_28"
    assert net.use_memory is bool(suffix) and net.num_maskmem == 9
    assert net.st_sca == 4 and type(net.st_sca) is int


def test_a_key_of_ours_would_stop_the_stand_in(tmp_path: Path) -> None:
    write_config(tmp_path / "exp_cfg.yaml", {"seed": 0})
    write_config(tmp_path / "mvt_cfg.yaml", {})
    with pytest.raises(KeyError, match="seed"):
        read_configs(tmp_path)
    write_config(tmp_path / "exp_cfg.yaml", {})
    write_config(tmp_path / "mvt_cfg.yaml", {"st_sca": 4.0})
    with pytest.raises(ValueError, match="st_sca"):
        read_configs(tmp_path)


@pytest.mark.parametrize(
    ("experiment", "network", "named"),
    [
        ("", "lora_cover full", "lora_cover full (there: published)"),
        ("", "memory_pos consistent", "memory_pos consistent (there: reference)"),
        ("", "memory_rule anchor_recent heatmap_half False", "heatmap_half False (there: True)"),
        ("", "head_hidden [32,16]", "head_hidden [32, 16] (there: [256, 128])"),
        ("", "data.points 5000", "data.points 5000 (there: 0)"),
        ("", "st_sca 3.5", "st_sca 3.5 (there: a whole number)"),
        ("language.encoder hashed", "", "language.encoder hashed (there: clip)"),
        ("image_size 256", "", "image_size 256 (there: 128)"),
        ("cameras [front]", "", "cameras ['front'] (there: ['front', 'left_shoulder'"),
        ("peract.optimizer_type adamw", "", "peract.optimizer_type adamw (there: lamb or adam)"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_what_the_weights_compute_must_be_possible_there(
    experiment: str, network: str, named: str, training: bool
) -> None:
    configs = (
        load_experiment("configs/sam2act_plus.yaml", experiment),
        load_network("configs/mvt/sam2act_plus.yaml", network),
    )
    with pytest.raises(ConfigError) as caught:
        released_configs(*configs, training=training)
    assert named in str(caught.value) and "--weights-only" not in str(caught.value)


def test_options_of_training_alone_stop_only_the_optimiser_state() -> None:
    opts = "peract.grad_clip 1.0 peract.zero_norm_escape True gripper_threshold 0.9"
    experiment = load_experiment("configs/sam2act.yaml", opts)
    network = load_network("configs/mvt/sam2act.yaml", "skip_convs pretrained_trained")
    with pytest.raises(ConfigError, match=r"grad_clip 1\.0 .*skip_convs.*--weights-only"):
        released_configs(experiment, network, training=True)
    released_configs(experiment, network, training=False)
    assert left_out(experiment, network) == [
        "gripper_threshold 0.9",
        "peract.zero_norm_escape True",
        "peract.grad_clip 1.0",
        "skip_convs pretrained_trained",
    ]


def test_options_of_a_memory_that_is_not_there_do_not_matter() -> None:
    network = load_network("configs/mvt/sam2act.yaml", "memory_pos consistent memory_hidden 32")
    _, there = released_configs(load_experiment("configs/sam2act.yaml"), network, training=True)
    assert there["use_memory"] is False and "memory_pos" not in there


def test_the_small_network_has_no_counterpart() -> None:
    experiment, network = (
        load_experiment("configs/tiny.yaml"),
        load_network("configs/mvt/tiny.yaml"),
    )
    with pytest.raises(ConfigError, match=r"encoder tiny_conv \(there: sam2\)"):
        released_configs(experiment, network, training=False)


def test_a_random_encoder_names_the_file_that_code_reads() -> None:
    network = load_network("configs/mvt/sam2act.yaml", "sam2_ckpt ''")
    _, there = released_configs(load_experiment("configs/sam2act.yaml"), network, training=False)
    assert there["sam2_ckpt"] == "sam2.1_hiera_base_plus.pt"
