"""Merging of defaults, yaml files and opts strings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sam2act.config.experiment import ExperimentConfig
from sam2act.config.files import find_config
from sam2act.config.load import (
    dump,
    from_dict,
    load_experiment,
    load_network,
    to_dict,
)
from sam2act.config.tasks import data_folder, store_folder, task_names
from sam2act.core.errors import ConfigError
from sam2act.core.tasks import RLBENCH_TASKS
from sam2act.policies.sam2act.config import NetworkConfig
from tests.places import CONFIGS

EXPERIMENTS = sorted(CONFIGS.glob("*.yaml"))
NETWORKS = sorted((CONFIGS / "mvt").glob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_survives_dump_and_load(path: Path, tmp_path: Path) -> None:
    config = load_experiment(path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump(config))
    assert load_experiment(copy) == config
    assert from_dict(ExperimentConfig, to_dict(config)) == config


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_network_survives_dump_and_load(path: Path, tmp_path: Path) -> None:
    config = load_network(path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump(config))
    assert load_network(copy) == config
    assert from_dict(type(config), to_dict(config)) == config


def test_published_values_are_read() -> None:
    experiment = load_experiment("configs/sam2act.yaml")
    network = load_network("configs/mvt/sam2act.yaml")
    assert experiment.peract.lambda_weight_l2 == 1e-4  # written without a dot in the yaml
    assert experiment.peract.lr == 1.25e-5
    assert experiment.bs == 8 and experiment.epochs == 90 and experiment.peract.bnb
    assert experiment.peract.transform_augmentation_rpy == (0.0, 0.0, 45.0)
    assert network.feat_dim == 220 and network.grid_size == 16 and network.num_maskmem == 9
    assert network.img_size == 224 and network.attn_dropout == 0.1 and network.heatmap_half


def test_released_yaml_with_every_published_key_loads(tmp_path: Path) -> None:
    released = {
        "agent": "our",
        "tasks": "all",
        "exp_id": "sam2act",
        "bs": 8,
        "wandb": True,
        "resume": "",
        "peract_official": {"cfg_path": "configs/peract_official_config.yaml"},
        "peract": {"lr": "1.25e-5", "same_trans_aug_per_seq": False, "amp": True},
        "rvt": {"place_with_mean": False, "img_aug": 0},
    }
    path = tmp_path / "released.yaml"
    path.write_text(yaml.safe_dump(released))
    config = load_experiment(path)
    assert config.peract.lr == 1.25e-5
    assert config.rvt.img_aug == 0.0 and isinstance(config.rvt.img_aug, float)


def test_opts_win_over_yaml() -> None:
    config = load_experiment(
        "configs/sam2act.yaml",
        "bs 4 peract.lr 1e-5 tasks a,b peract.transform_augmentation_xyz [0.1,0.1,0]",
    )
    assert config.bs == 4 and config.peract.lr == 1e-5
    assert config.peract.transform_augmentation_xyz == (0.1, 0.1, 0.0)
    assert task_names(config) == ("a", "b")
    assert config.epochs == 90


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ("bss 3", "unknown key bss; did you mean bs"),
        ("peract.lrr 3", "unknown key peract.lrr; did you mean lr"),
        ("bs", "pairs"),
        ("bs 0", "bs must be at least 1"),
        ("bs many", "bs"),
        ("peract 3", "section"),
        ("peract.optimizer_type sgd", "optimizer_type"),
        ("peract.num_rotation_classes 70", "num_rotation_classes"),
        ("scene_bounds [0,0,0,1,1,0]", "scene_bounds"),
        ("cameras [front,front]", "twice"),
        ("log_every 0", "log_every"),
        ("validation.every 0", "validation.every"),
        ("num_workers -1", "num_workers"),
        ("peract.warmup_steps -1", "warmup_steps"),
        ("peract.betas [0.9]", "betas"),
        ("rvt.gt_hm_sigma 0", "gt_hm_sigma"),
        ("sample_distribution_mode uniform", "sample_distribution_mode"),
    ],
)
def test_bad_experiment_values_name_the_key(opts: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment("", opts)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ("img_size 225", "img_patch_size"),
        ("cvx_up False", "cvx_up"),
        ("add_proprio False", "add_proprio"),
        ("use_point_renderer False", "use_point_renderer"),
        ("encoder tiny_conv", "encoder_trainable"),
        ("lora_finetune False", "encoder_trainable"),
        ("encoder_trainable full", "lora_finetune"),
        ("attn_heads 0", "attn_heads"),
        ("remember 3", "unknown key"),
    ],
)
def test_bad_network_values_name_the_key(opts: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_network("configs/mvt/sam2act.yaml", opts)


def test_defaults_of_the_network_are_legal() -> None:
    assert load_network() == NetworkConfig()


def test_other_values_of_fixed_switches_ask_for_a_yaml() -> None:
    with pytest.raises(ConfigError, match="only cvx_up: True, feat_ver: 1; .*mvt/sam2act.yaml"):
        load_network("", "feat_ver 0 cvx_up False")


def test_published_config_paths_are_found(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    expected = (CONFIGS / "mvt" / "sam2act.yaml").read_text()
    assert find_config("mvt/configs/sam2act.yaml").read_text() == expected
    assert find_config("configs/mvt/sam2act.yaml").read_text() == expected
    assert find_config("sam2act/mvt/configs/sam2act.yaml").read_text() == expected
    with pytest.raises(ConfigError, match="looked for"):
        find_config("configs/absent.yaml")


def test_yaml_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("bs: [1\n")
    with pytest.raises(ConfigError, match="broken.yaml"):
        load_experiment(path)
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="key: value"):
        load_experiment(path)


def test_folders_follow_the_task_set() -> None:
    assert task_names(load_experiment("", "tasks all")) == RLBENCH_TASKS
    memory = load_experiment("", "tasks put_block_back")
    assert (data_folder(memory), store_folder(memory)) == ("data_memory", "store_memory")
    mixed = load_experiment("", "tasks put_block_back,open_drawer")
    assert (data_folder(mixed), store_folder(mixed)) == ("data", "store")
    assert data_folder(load_experiment("", "data_folder elsewhere")) == "elsewhere"
    with pytest.raises(ConfigError, match="twice"):
        task_names(load_experiment("", "tasks a,a"))


@pytest.mark.parametrize(
    ("load", "opts", "said"),
    [
        (load_experiment, "lr 1e-4", "did you mean peract.lr of the experiment config?"),
        (load_experiment, "peract.bs 4", "did you mean bs of the experiment config?"),
        (load_experiment, "num_rot 4", "did you mean num_rot of the network config?"),
        (load_network, "bs 4", "did you mean bs of the experiment config?"),
    ],
)
def test_key_of_another_section_is_pointed_out(load: Any, opts: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load("", opts)


def test_values_with_spaces_in_brackets_or_quotation_marks() -> None:
    experiment = load_experiment(
        "", "scene_bounds [0, 0, 0, 1, 1, 1.5] cameras ('front', 'wrist') data_folder '/my data/a'"
    )
    assert experiment.scene_bounds == (0, 0, 0, 1, 1, 1.5)
    assert experiment.cameras == ("front", "wrist")
    assert experiment.data_folder == "/my data/a"


@pytest.mark.parametrize(
    "text", ["bs: 4\nepochs: 2\nbs: 5\n", "peract: {lr: 1}\nbs: 4\nperact: {amp: yes}\n"]
)
def test_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text(text)
    key = text.partition(":")[0]
    said = f"{file} is not valid yaml: the key {key}, which line 1 has already, stands again"
    with pytest.raises(ConfigError, match=f"{re.escape(said)} in line 3, column 1$"):
        load_experiment(file)
