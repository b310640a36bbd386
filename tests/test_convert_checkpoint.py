"""Conversion between our checkpoints and bare published files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sam2act.config.load import dump, load_experiment, load_network
from sam2act.policy.checkpoint import (
    PolicyBundle,
    build_policy,
    config_extra,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "convert_checkpoint.py"
EXPERIMENT = load_experiment("configs/tiny.yaml", "seed 7")
SIZES = "depth 2 img_size 32 attn_dim 16 attn_heads 2 attn_dim_head 8 im_channels 16 lang_len 4 "
SIZES += "lang_dim 8 data.points 0 head_hidden [16,16] memory_mask_size 32 "
# The released structure with its SAM2 tensors, but narrow.
NARROW = "sam2_ckpt '' depth 2 attn_dim 32 attn_heads 2 attn_dim_head 16 im_channels 16 "
NARROW += "sam2_config sam2.1_hiera_t.yaml memory_hidden 32 num_maskmem 5"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("convert_checkpoint", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["tiny", "released", "released plus"])
def bundle(request) -> PolicyBundle:
    name = {"tiny": "tiny", "released": "sam2act", "released plus": "sam2act_plus"}[request.param]
    opts = SIZES if request.param == "tiny" else NARROW
    network = load_network(f"configs/mvt/{name}.yaml", opts)
    bundle = build_policy(load_experiment(f"configs/{name}.yaml"), network, seed=3)
    for value in bundle.carried.values():
        value.normal_()
    return bundle


@pytest.fixture
def ours(bundle: PolicyBundle, tmp_path: Path) -> Path:
    """A file as training writes it."""
    path = tmp_path / "model.pth"
    content = {"epoch": 4, "model_state": bundle.model_state(), "optimizer_state": {}}
    save_checkpoint(path, content | {"extra": config_extra(bundle)})
    return path


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    bundle = build_policy(EXPERIMENT, load_network("configs/mvt/tiny.yaml", SIZES), seed=3)
    path = tmp_path / "tiny.pth"
    content = {"epoch": 2, "model_state": bundle.model_state(), "extra": config_extra(bundle)}
    save_checkpoint(path, content)
    return path


def run(script: ModuleType, *arguments: object) -> int:
    return script.main([str(argument) for argument in arguments])


# ------------------------------------------------------------------------------------ both ways
def test_both_ways_keep_every_tensor(
    script: ModuleType, bundle: PolicyBundle, ours: Path, tmp_path: Path
) -> None:
    bare, back = tmp_path / "elsewhere" / "bare.pth", tmp_path / "back.pth"
    assert run(script, ours, "--to", "published", "--output", bare) == 0
    content = read_checkpoint(bare)
    assert content.keys() == {"epoch", "model_state"} and content["epoch"] == 4
    named = tmp_path / "network.yaml"
    named.write_text(dump(bundle.network))
    arguments = ("--mvt_cfg_path", named, "--to", "sam2act", "--output", back)
    assert run(script, bare, *arguments) == 0
    expected, loaded = bundle.model_state(), load_policy(back)
    assert loaded.network == bundle.network
    actual = loaded.model_state()
    assert actual.keys() == expected.keys() == content["model_state"].keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def test_copies_of_a_tensor_are_stored_once(
    script: ModuleType, bundle: PolicyBundle, ours: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.pth"
    assert run(script, ours, "--to", "published", "--output", bare) == 0
    parts = {value.data_ptr(): value.nbytes for value in bundle.model_state().values()}
    assert bare.stat().st_size < 1.1 * sum(parts.values()) + 600 * len(bundle.model_state())


# -------------------------------------------------------------------------------------- report
def test_report_counts_and_writes_nothing(
    script: ModuleType, bundle: PolicyBundle, ours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in ours.parent.iterdir())
    assert run(script, ours, "--dry-run") == 0
    assert sorted(path.name for path in ours.parent.iterdir()) == before
    report = capsys.readouterr().out
    network = bundle.policy.network
    trained = [p for p in network.parameters() if p.requires_grad]
    count = f"trained in this stage: {sum(p.numel() for p in trained):,} in {len(trained)} tensors"
    for line in (
        f"network: {type(network).__name__}, fits the config inside the file",
        "epoch: 4",
        f"carried unused: {len(bundle.carried)}",
        "missing: 0",
        "unexpected: 0",
        count,
        f"num_maskmem: {bundle.network.num_maskmem}",
    ):
        assert line in report


def test_report_tells_fresh_adapters_from_trained_ones(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = load_network("configs/mvt/sam2act.yaml", NARROW)
    bundle = build_policy(load_experiment("configs/sam2act.yaml"), network)
    path = tmp_path / "model.pth"
    state = {name: value.clone() for name, value in bundle.model_state().items()}
    up = [n for n in state if n.startswith("sam2.image_encoder.") and ".linear_b_" in n]
    for expected in (f"yes, {len(up)} of {len(up)}", "no"):
        save_checkpoint(path, {"model_state": state, "extra": config_extra(bundle)})
        assert run(script, path, "--dry-run") == 0
        assert f"zero LoRA B tensors: {expected}" in capsys.readouterr().out
        for name in up:
            for prefix in ("", "mvt1.", "mvt2."):
                state[prefix + name] = torch.ones_like(state[name])


def test_report_names_absent_unused_tensors(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = load_network("configs/mvt/sam2act.yaml", NARROW)
    bundle = build_policy(load_experiment("configs/sam2act.yaml"), network)
    state = {n: v for n, v in bundle.model_state().items() if "no_mem_embed" not in n}
    path = tmp_path / "model.pth"
    save_checkpoint(path, {"model_state": state, "extra": config_extra(bundle)})
    assert run(script, path, "--dry-run") == 0
    assert "absent unused: 1 (sam2.no_mem_embed)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"mvt1.x": 0.0}, "tiny"),
        (
            {"sam2.memory_attention.layers.0.a": 0.0, "sam2.memory_attention.layers.1.a": 0.0},
            "tiny_plus",
        ),
        ({"sam2.image_encoder.x": 0.0}, "sam2act"),
        (
            {
                "sam2.image_encoder.x": 0.0,
                "sam2.memory_attention.layers.0.a": 1.0,
                "sam2.memory_attention.layers.1.a": 1.0,
            },
            "sam2act",
        ),
        (
            {
                "sam2.image_encoder.x": 0.0,
                "sam2.memory_attention.layers.0.a": 1.0,
                "sam2.memory_attention.layers.1.a": 2.0,
            },
            "sam2act_plus",
        ),
    ],
)
def test_bare_file_suggests_its_config(
    script: ModuleType, names: dict[str, float], expected: str
) -> None:
    state = {name: torch.tensor(value) for name, value in names.items()}
    assert script.shipped_config(state) == expected


def test_bare_file_of_a_shipped_config_needs_no_options(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = build_policy(EXPERIMENT, load_network("configs/mvt/tiny.yaml"))
    path = tmp_path / "weights.pth"
    torch.save(bundle.model_state(), path)
    assert run(script, path, "--dry-run") == 0
    report = capsys.readouterr().out
    assert "fits configs/mvt/tiny.yaml" in report and "none (a bare file)" in report


def test_averaged_weights_are_taken_unless_refused(script: ModuleType, tmp_path: Path) -> None:
    bundle = build_policy(EXPERIMENT, load_network("configs/mvt/tiny.yaml", SIZES))
    table = "network.coarse.tokenizer.position_encoding"
    average = torch.full_like(bundle.policy.get_parameter(table), 7.0)
    path, output = tmp_path / "model.pth", tmp_path / "bare.pth"
    extra = config_extra(bundle) | {"average": {"average": {table: average}}}
    save_checkpoint(path, {"model_state": bundle.model_state(), "extra": extra})
    for options, averaged in (((), True), (("--last-weights", "--force"), False)):
        assert run(script, path, "--to", "published", "--output", output, *options) == 0
        stored = read_checkpoint(output)["model_state"]["mvt1.pos_encoding"]
        assert torch.equal(stored, average) is averaged


# ------------------------------------------------------------------------------------- refusals
def test_existing_file_is_replaced_on_request_only(
    script: ModuleType, tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "there.pth"
    output.write_text("precious")
    arguments = (tiny_file, "--to", "published", "--output", output)
    assert run(script, *arguments) == 1
    assert output.read_text() == "precious" and "--force" in capsys.readouterr().err
    assert run(script, *arguments, "--force") == 0
    assert read_checkpoint(output)["epoch"] == 2


def test_crash_leaves_the_old_file(
    script: ModuleType, tiny_file: Path, tmp_path: Path, monkeypatch
) -> None:
    output = tmp_path / "there.pth"
    output.write_text("precious")

    def crash(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    assert run(script, tiny_file, "--to", "published", "--output", output, "--force") == 1
    assert output.read_text() == "precious"


def test_file_with_three_faults_is_refused_and_all_are_named(
    script: ModuleType, tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = read_checkpoint(tiny_file)
    state = content["model_state"]
    state["mvt1.renamed"] = state.pop("mvt1.pos_encoding")
    del state["mvt2.pos_encoding"]
    state["extra_one"] = torch.zeros(1)
    save_checkpoint(tiny_file, content)
    output = tmp_path / "bare.pth"
    assert run(script, tiny_file, "--to", "published", "--output", output) == 1
    message = capsys.readouterr().err
    assert "2 missing: mvt1.pos_encoding, mvt2.pos_encoding" in message
    assert "2 unexpected: extra_one, mvt1.renamed" in message
    assert not output.exists()


@pytest.mark.parametrize("arguments", [[], ["--to", "published"], ["--output", "x.pth"]])
def test_incomplete_command_is_explained(
    script: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(script, "model.pth", *arguments)
    assert "--dry-run" in capsys.readouterr().err


def test_absent_file_is_named(script: ModuleType, tmp_path: Path, capsys) -> None:
    assert run(script, tmp_path / "nothing.pth", "--dry-run") == 1
    assert "no checkpoint" in capsys.readouterr().err
    assert run(script, tmp_path, "--dry-run") == 1


def test_help_shows_examples(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(script, "--help")
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "--to sam2act --output model.pth" in text
