"""Checkpoint files: atomic writing, careful reading, and finding the configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.core import files
from sam2act.core.errors import ConfigError
from sam2act.policies.checkpoint import (
    CheckpointError,
    PolicyBundle,
    build_policy,
    config_extra,
    load_policy,
    read_checkpoint,
    save_checkpoint,
    stored_configs,
    write_config,
)
from sam2act.policies.multiview.settings import check_compatible
from sam2act.policies.sam2act.published_weights import MEMORY_TABLE, WeightsError
from sam2act.training.ema import WeightAverage
from tests.small_encoder import SMALL_ENCODER

TINY_EXPERIMENT = load_experiment("configs/tiny.yaml", "seed 7 image_size 64")
TINY = load_network(
    "configs/mvt/tiny.yaml",
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 "
    "im_channels 16 lang_len 4 lang_dim 8 data.points 0 head_hidden [16,16]",
)
# The released structure with its SAM2 tensors, but narrow.
NARROW_OPTS = "sam2_ckpt '' depth 2 attn_dim 32 attn_heads 2 attn_dim_head 16 im_channels 16 "
NARROW_OPTS += f"{SMALL_ENCODER}num_maskmem 5"


@pytest.fixture(scope="module")
def tiny() -> PolicyBundle:
    return build_policy(TINY_EXPERIMENT, TINY, seed=3)


@pytest.fixture(scope="module")
def narrow() -> PolicyBundle:
    experiment = load_experiment("configs/sam2act.yaml")
    bundle = build_policy(experiment, load_network("configs/mvt/sam2act.yaml", NARROW_OPTS), seed=3)
    for value in bundle.policy.weight_adapter.carried.values():
        value.normal_()
    return bundle


def assert_same_weights(first: PolicyBundle, second: PolicyBundle) -> None:
    mine, other = first.model_state(), second.model_state()
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


# ------------------------------------------------------------------------------------ writing
def test_written_file_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.pth"
    save_checkpoint(path, {"epoch": 4, "model_state": {"x": torch.arange(3)}})
    content = read_checkpoint(path)
    assert content["epoch"] == 4 and content["model_state"]["x"].tolist() == [0, 1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["model.pth"]


@pytest.mark.parametrize("moment", ["writing", "syncing", "renaming"])
def test_crash_leaves_the_old_file(tmp_path: Path, monkeypatch, moment: str) -> None:
    path = tmp_path / "model.pth"
    save_checkpoint(path, {"epoch": 1, "model_state": {"x": torch.ones(2)}})
    before = path.read_bytes()

    def crash(*args: Any) -> None:
        if moment == "writing":
            args[1].write(b"half of a file")
        raise OSError("no space left")

    patched = {"writing": (torch, "save"), "syncing": (os, "fsync"), "renaming": (os, "replace")}
    monkeypatch.setattr(*patched[moment], crash)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, {"epoch": 2, "model_state": {"x": torch.zeros(2)}})
    monkeypatch.undo()
    assert path.read_bytes() == before
    save_checkpoint(path, {"epoch": 3, "model_state": {}})  # the remains of the crash do no harm
    assert read_checkpoint(path)["epoch"] == 3


# ------------------------------------------------------------------------------------ reading
def test_absent_file(tmp_path: Path) -> None:
    absent = tmp_path / "absent.pth"
    with pytest.raises(CheckpointError, match=r"no checkpoint .*absent\.pth; .* holds no"):
        read_checkpoint(absent)
    (tmp_path / "model_last.pth").touch()
    with pytest.raises(CheckpointError, match=r"holds model_last\.pth$"):
        read_checkpoint(absent)
    with pytest.raises(CheckpointError, match="there is no folder"):
        read_checkpoint(tmp_path / "none" / "x.pth")


@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_truncated_file_is_named(tmp_path: Path, tiny: PolicyBundle, share: float) -> None:
    path = tmp_path / "model_cut.pth"
    save_checkpoint(path, {"model_state": tiny.model_state()})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"checkpoint .*model_cut\.pth is (cut off|empty)"):
        load_policy(path)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "model_bomb.pth", tmp_path / "mark"
    torch.save({"model_state": {}, "extra": Bomb(mark)}, path)
    with pytest.raises(CheckpointError, match=r"(?s)model_bomb\.pth.*mkdir"):
        read_checkpoint(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # which would have run it
    assert mark.exists()


@pytest.mark.parametrize("content", [{"weights": {}}, [1, 2], {}, {"epoch": 3}])
def test_other_files_are_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"other\.pth has no entry `model_state`"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ([1], "entry `extra` is not what this project writes"),
        ("x", "entry `extra` is not what this project writes"),
        ({"experiment": {}}, "entry `extra` is not what this project writes"),
        ({"average": "x"}, "entry `extra` is not what this project writes"),
        ({"average": {"decay": 0.9}}, "`extra.average` holds no averaged weights, but decay"),
    ],
)
def test_foreign_extra_is_named(tmp_path: Path, extra: Any, said: str) -> None:
    torch.save({"model_state": {"a": torch.ones(1)}, "extra": extra}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=rf"model\.pth: .*{said}"):
        read_checkpoint(tmp_path / "model.pth")


def test_extra_of_none_is_no_extra(tmp_path: Path) -> None:
    torch.save({"model_state": {"a": torch.ones(1)}, "extra": None}, tmp_path / "model.pth")
    assert read_checkpoint(tmp_path / "model.pth")["extra"] == {}


# ------------------------------------------------------------------------------ configuration
def test_file_of_a_run_stands_on_its_own(tmp_path: Path, tiny: PolicyBundle) -> None:
    path = tmp_path / "model_last.pth"
    save_checkpoint(path, {"model_state": tiny.model_state(), "extra": config_extra(tiny)})
    loaded = load_policy(path)
    assert loaded.experiment == TINY_EXPERIMENT and loaded.network == TINY
    assert not loaded.policy.training
    assert_same_weights(loaded, tiny)


def test_averaged_weights_are_preferred(tmp_path: Path, tiny: PolicyBundle) -> None:
    average = WeightAverage(tiny.policy, decay=0.5)
    for value in average.average.values():
        value.fill_(0.25)
    extra = config_extra(tiny) | {"average": average.state_dict()}
    save_checkpoint(tmp_path / "a.pth", {"model_state": tiny.model_state(), "extra": extra})
    loaded = dict(load_policy(tmp_path / "a.pth").policy.named_parameters())
    assert all((loaded[name] == 0.25).all() for name in average.average)


@pytest.mark.parametrize("form", ["entry", "bare", "ddp"])
def test_file_without_extra_takes_the_yaml_beside_it(
    tmp_path: Path, narrow: PolicyBundle, form: str
) -> None:
    state = narrow.model_state()
    content = {
        "entry": {"epoch": 14, "model_state": state},
        "bare": state,
        "ddp": {"model_state": {f"module.{name}": value for name, value in state.items()}},
    }[form]
    torch.save(content, tmp_path / "model_14.pth")
    write_config(tmp_path / "mvt_cfg.yaml", to_dict(narrow.network))
    write_config(tmp_path / "exp_cfg.yaml", to_dict(narrow.experiment) | {"bs": 5})
    loaded = load_policy(tmp_path / "model_14.pth")
    assert loaded.network == narrow.network and loaded.experiment.bs == 5
    assert_same_weights(loaded, narrow)


def test_yaml_of_another_network_lists_the_tensors(tmp_path: Path, tiny: PolicyBundle) -> None:
    torch.save({"model_state": tiny.model_state()}, tmp_path / "model.pth")
    write_config(tmp_path / "mvt_cfg.yaml", to_dict(TINY) | {"depth": 4})
    write_config(tmp_path / "exp_cfg.yaml", to_dict(TINY_EXPERIMENT))
    with pytest.raises(
        WeightsError, match=r"48 missing: .*mvt1\.layers\.2\.0\.fn\.to_q\.weight.* and 38 more"
    ):
        load_policy(tmp_path / "model.pth")


def test_message_says_where_the_network_config_came_from(
    tmp_path: Path, tiny: PolicyBundle
) -> None:
    state = dict(list(tiny.model_state().items())[1:])
    path = tmp_path / "model.pth"
    torch.save({"model_state": state, "extra": config_extra(tiny)}, path)
    with pytest.raises(WeightsError, match="does not fit the network config stored in it"):
        load_policy(path)
    torch.save({"model_state": state}, path)
    with pytest.raises(WeightsError, match=r"which was assumed since .*/mvt_cfg\.yaml is absent"):
        load_policy(path)
    write_config(tmp_path / "mvt_cfg.yaml", to_dict(TINY))
    write_config(tmp_path / "exp_cfg.yaml", to_dict(TINY_EXPERIMENT))
    with pytest.raises(WeightsError, match=r"does not fit the network config .*/mvt_cfg\.yaml\."):
        load_policy(path)


def test_config_of_another_version_names_the_file(tmp_path: Path, tiny: PolicyBundle) -> None:
    extra = config_extra(tiny)
    extra["network"]["of_tomorrow"] = 1
    save_checkpoint(tmp_path / "a.pth", {"model_state": tiny.model_state(), "extra": extra})
    with pytest.raises(ConfigError, match=r"a\.pth: .* unknown key of_tomorrow.*use the version"):
        load_policy(tmp_path / "a.pth")


@pytest.mark.parametrize(("state", "expected"), [({MEMORY_TABLE: 7}, 7), ({}, 9)])
def test_file_alone_means_the_published_network_with_its_temporal_table(
    tmp_path: Path, state: dict[str, int], expected: int
) -> None:
    tensors = {name: torch.zeros(rows, 1, 1, 64) for name, rows in state.items()}
    experiment, network = stored_configs(tmp_path / "model.pth", {"model_state": tensors})
    assert network == load_network("configs/mvt/sam2act.yaml", f"num_maskmem {expected}")
    assert experiment == load_experiment("configs/sam2act.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("num_maskmem", [9, 7])
def test_published_layout_in_a_bare_file_gives_the_full_network(
    tmp_path: Path, num_maskmem: int
) -> None:
    opts = f"sam2_ckpt '' num_maskmem {num_maskmem}"
    network = load_network("configs/mvt/sam2act.yaml", opts)
    bundle = build_policy(load_experiment("configs/sam2act.yaml"), network, seed=1)
    state = bundle.model_state()
    assert len(state) == 2462
    path = tmp_path / "model_plus.pth"
    torch.save({"model_state": state}, path)
    loaded = load_policy(path)
    assert loaded.network.num_maskmem == num_maskmem
    assert loaded.network.sam2_config.endswith("b+.yaml")
    assert_same_weights(loaded, bundle)


# ------------------------------------------------------------------------------------- building
def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = build_policy(TINY_EXPERIMENT, TINY, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert_same_weights(first, build_policy(TINY_EXPERIMENT, TINY, seed=3))
    other = build_policy(TINY_EXPERIMENT, TINY, seed=4).model_state()
    assert not torch.equal(other["mvt1.pos_encoding"], first.model_state()["mvt1.pos_encoding"])


def test_contradicting_configs_are_refused() -> None:
    network = load_network("configs/mvt/tiny.yaml", "num_rot 36")
    with pytest.raises(ConfigError, match="num_rot 36.*num_rotation_classes 72"):
        check_compatible(TINY_EXPERIMENT, network)


def test_processes_that_write_the_same_config_do_not_meet(tmp_path: Path, monkeypatch) -> None:
    path, ends = tmp_path / "eval_config.yaml", files.flush

    def other_process_is_faster(partial: Path) -> None:
        monkeypatch.setattr(files, "flush", ends)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        write_config(path, {"seed": 1})
        ends(partial)

    monkeypatch.setattr(files, "flush", other_process_is_faster)
    write_config(path, {"seed": 1})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "seed: 1\n"
