"""Checkpoints that cannot be used: what they are is said, and which earlier one is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sam2act.cli import evaluate as evaluation
from sam2act.config.load import load_experiment, load_network
from sam2act.core.weight_names import WeightsError
from sam2act.policies.checkpoint import (
    CheckpointError,
    PolicyBundle,
    build_policy,
    config_extra,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)

EXPERIMENT = load_experiment("configs/tiny.yaml", "image_size 64")
NETWORK = load_network(
    "configs/mvt/tiny.yaml",
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 "
    "im_channels 16 lang_len 4 lang_dim 8 data.points 0 head_hidden [16,16]",
)
TABLE = "mvt1.pos_encoding"
NOT_A_NUMBER = float("nan")


@pytest.fixture(scope="module")
def bundle() -> PolicyBundle:
    return build_policy(EXPERIMENT, NETWORK, seed=3)


def content(bundle: PolicyBundle, **changes: Any) -> dict[str, Any]:
    state = {name: value.clone() for name, value in bundle.model_state().items()}
    return {"epoch": 1, "model_state": state | changes, "extra": config_extra(bundle)}


def bad_table(bundle: PolicyBundle, value: float = NOT_A_NUMBER) -> torch.Tensor:
    table = bundle.model_state()[TABLE].clone()
    table[..., 3] = value
    return table


# ------------------------------------------------------------------------------- earlier files
@pytest.fixture
def run(bundle: PolicyBundle, tmp_path: Path) -> Path:
    """A run folder: epochs 2 and 9 are sound, 10 is cut off; model_last.pth is a pointer."""
    for epoch in (2, 9, 10):
        save_checkpoint(tmp_path / f"model_{epoch}.pth", content(bundle))
    whole = (tmp_path / "model_10.pth").read_bytes()
    (tmp_path / "model_10.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "model_last.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    return tmp_path


def test_the_newest_sound_checkpoint_of_the_run_is_named(run: Path, bundle: PolicyBundle) -> None:
    save_checkpoint(run / "model_plus_19.pth", content(bundle))  # of another stage
    with pytest.raises(CheckpointError) as caught:
        load_policy(run / "model_last.pth")
    message = str(caught.value)
    assert f"checkpoint {run}/model_last.pth is a pointer of Git LFS" in message
    assert f"{run}/model_9.pth beside it is sound" in message
    assert f"add `resume {run}/model_9.pth` to --exp_cfg_opts" in message
    assert "weights_only" not in message and "\n" not in message
    assert read_checkpoint(run / "model_9.pth")["epoch"] == 1


def test_nothing_is_promised_where_no_other_file_is_sound(run: Path) -> None:
    for name in ("model_2.pth", "model_9.pth"):
        (run / name).write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(run / "model_last.pth")
    assert "sound" not in str(caught.value)


def test_weights_that_are_no_numbers_lead_back_too(run: Path, bundle: PolicyBundle) -> None:
    save_checkpoint(run / "model_last.pth", content(bundle, **{TABLE: bad_table(bundle)}))
    with pytest.raises(CheckpointError, match=rf"1 tensor holds NaN .*: {TABLE}\. .*model_9\.pth"):
        load_policy(run / "model_last.pth")


def test_evaluation_says_so_in_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model-folder", str(run), "--model-name", "model_last.pth", "--seed", "1"]
    options += ["--tasks", "put_block_back", "--eval-episodes", "1", "--device", "cpu"]
    assert evaluation.main([*options, "--backend", "embedded"]) == 2
    message = capsys.readouterr().err
    assert "is a pointer of Git LFS" in message and "model_9.pth beside it is sound" in message
    assert "Traceback" not in message


# --------------------------------------------------------------------------------- bad weights
@pytest.mark.parametrize("value", [NOT_A_NUMBER, float("inf")])
def test_weights_that_are_no_numbers_are_refused(
    bundle: PolicyBundle, tmp_path: Path, value: float
) -> None:
    file = content(bundle, **{TABLE: bad_table(bundle, value)})
    save_checkpoint(tmp_path / "model.pth", file)
    with pytest.raises(CheckpointError, match=rf"model\.pth: 1 tensor holds .*: {TABLE}$"):
        load_policy(tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=TABLE):  # also where no file is involved
        bundle.policy.weight_adapter.load(file["model_state"])


def test_averaged_weights_are_looked_at(bundle: PolicyBundle, tmp_path: Path) -> None:
    name = "network.coarse.tokenizer.position_encoding"
    file = content(bundle)
    file["extra"]["average"] = {"average": {name: bad_table(bundle)}}
    save_checkpoint(tmp_path / "model.pth", file)
    with pytest.raises(CheckpointError, match=rf"NaN or infinite values: {name}"):
        load_policy(tmp_path / "model.pth")
    file["extra"]["average"] = {"average": {f"network.x{i}": torch.ones(1) for i in range(900)}}
    save_checkpoint(tmp_path / "model.pth", file)
    with pytest.raises(CheckpointError, match="900 unexpected: .* and 890 more") as caught:
        load_policy(tmp_path / "model.pth")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_taken_off(
    bundle: PolicyBundle, tmp_path: Path, prefix: str
) -> None:
    file = content(bundle)
    average = {"_orig_mod.network.coarse.tokenizer.position_encoding": torch.full((1,), 0.5)}
    average = {k: v.expand_as(file["model_state"][TABLE]).clone() for k, v in average.items()}
    file["extra"]["average"] = {"average": average}
    file["model_state"] = {f"{prefix}{name}": v for name, v in file["model_state"].items()}
    save_checkpoint(tmp_path / "model.pth", file)
    loaded = load_policy(tmp_path / "model.pth").model_state()
    expected = bundle.model_state() | {TABLE: next(iter(average.values()))}
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_other_prefixes_are_named_and_the_message_stays_short(
    bundle: PolicyBundle, tmp_path: Path
) -> None:
    file = content(bundle)
    file["model_state"] = {f"policy.net.{name}": v for name, v in file["model_state"].items()}
    save_checkpoint(tmp_path / "model.pth", file)
    with pytest.raises(WeightsError, match="begin with `policy.net.`: take it off") as caught:
        load_policy(tmp_path / "model.pth")
    assert len(str(caught.value)) < 1500


def test_tensors_of_other_types(bundle: PolicyBundle, tmp_path: Path) -> None:
    halves = {name: v.half() for name, v in bundle.model_state().items() if v.is_floating_point()}
    save_checkpoint(tmp_path / "half.pth", content(bundle, **halves))
    loaded = load_policy(tmp_path / "half.pth").model_state()[TABLE]
    assert loaded.dtype == torch.float32 and torch.equal(loaded, halves[TABLE].float())
    table = bundle.model_state()[TABLE].to(torch.int8)
    save_checkpoint(tmp_path / "int.pth", content(bundle, **{TABLE: table, "mvt2.pos_encoding": 1}))
    with pytest.raises(WeightsError) as caught:
        load_policy(tmp_path / "int.pth")
    assert f"{TABLE} int8, not float32, mvt2.pos_encoding is no tensor but int" in str(caught.value)
