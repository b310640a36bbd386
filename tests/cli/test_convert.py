"""Conversion between our checkpoints and bare published files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sam2act.config.load import dump, load_experiment, load_network, to_dict
from sam2act.core.registry import POLICIES
from sam2act.policies.base import Policy
from sam2act.policies.checkpoint import (
    PolicyBundle,
    build_policy,
    config_extra,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)
from sam2act.policies.sam2act.published_weights import released_parameters
from sam2act.training.optimizer import build_optimizer
from sam2act.training.optimizer_state import trained_names
from sam2act.training.schedule import WarmupCosine
from tests.released_stand_in import (
    ReleasedLamb,
    ReleasedSchedule,
    load_agent,
    read_configs,
    released_network,
)
from tests.small_encoder import SMALL_ENCODER

EXPERIMENT = load_experiment("configs/tiny.yaml", "seed 7")
SIZES = "depth 2 img_size 32 attn_dim 16 attn_heads 2 attn_dim_head 8 im_channels 16 lang_len 4 "
SIZES += "lang_dim 8 data.points 0 head_hidden [16,16] memory_mask_size 32 "
# The released structure with its SAM2 tensors, but narrow.
NARROW = "sam2_ckpt '' depth 2 attn_dim 32 attn_heads 2 attn_dim_head 16 im_channels 16 "
NARROW += f"{SMALL_ENCODER}memory_hidden 32 num_maskmem 5 "
# What the released code knows no option for.
RELEASED_SIZES = "sam2_config sam2.1_hiera_t.yaml upsampler_channels [64,32] memory_hidden 2048"


@dataclass(frozen=True)
class OtherConfig:
    policy: str = "other"


class Other(Policy):
    Config = OtherConfig


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return import_module("sam2act.cli.convert")


@pytest.fixture(scope="module", params=["tiny", "released", "released plus"])
def bundle(request) -> PolicyBundle:
    name = {"tiny": "tiny", "released": "sam2act", "released plus": "sam2act_plus"}[request.param]
    opts = SIZES if request.param == "tiny" else NARROW
    network = load_network(f"configs/mvt/{name}.yaml", opts)
    bundle = build_policy(load_experiment(f"configs/{name}.yaml"), network, seed=3)
    for value in bundle.policy.weight_adapter.carried.values():
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


# ---------------------------------------------------------------------------- whole run folder
@pytest.fixture(scope="module", params=["", "_plus"])
def trained_run(request, tmp_path_factory) -> tuple[PolicyBundle, Path, str]:
    """A checkpoint of the released architecture with the state of two updates."""
    stage = request.param
    experiment = load_experiment(f"configs/sam2act{stage}.yaml", "seed 7 peract.warmup_steps 1")
    network = load_network(f"configs/mvt/sam2act{stage}.yaml", NARROW + RELEASED_SIZES)
    bundle = build_policy(experiment, network, seed=3)
    groups = bundle.policy.parameter_groups()
    optimizer = build_optimizer(groups, optimizer_type="lamb", bnb=True, lr=1e-3)
    schedule = WarmupCosine(optimizer, base=1e-3, warmup_steps=1, total_steps=9, cosine=True)
    for _ in range(2):
        for parameter in groups[0]["params"]:
            parameter.grad = torch.rand_like(parameter)
        optimizer.step()
        schedule.step()
    states = {"optimizer_state": optimizer.state_dict(), "lr_sched_state": schedule.state_dict()}
    content = {"epoch": 1, "model_state": bundle.model_state(), **states}
    path = tmp_path_factory.mktemp("run") / f"model{stage}_last.pth"
    save_checkpoint(path, content | {"extra": config_extra(bundle) | {"step": 2}})
    return bundle, path, stage


@pytest.mark.parametrize("options", [(), ("--weights-only",)])
def test_a_run_folder_of_ours_loads_where_the_released_code_reads(
    script: ModuleType, trained_run, tmp_path: Path, options: tuple[str, ...]
) -> None:
    bundle, path, stage = trained_run
    folder = tmp_path / "released"
    assert run(script, path, "--to", "published", "--output", folder, *options) == 0
    names = [f"exp_cfg{stage}.yaml", f"model{stage}_last.pth", f"mvt_cfg{stage}.yaml"]
    assert sorted(file.name for file in folder.iterdir()) == names
    experiment, network = read_configs(folder, stage)
    assert experiment.peract.lr == bundle.experiment.peract.lr
    assert network.use_memory is bool(stage) and network.num_maskmem == 5
    state = bundle.model_state()
    there = released_network(state, released_parameters(state))
    optimizer = ReleasedLamb(there.parameters())
    schedule = ReleasedSchedule(optimizer, cosine=experiment.peract.lr_cos_dec)
    assert load_agent(folder / names[1], there, optimizer, schedule) == 1
    expected = bundle.model_state()
    assert all(torch.equal(value, expected[name]) for name, value in there.state_dict().items())
    moved = {n for n, p in there.named_parameters() if p in optimizer.state}
    trained = {name for group in trained_names(bundle) for name in group}
    assert moved == (set() if options else trained)
    assert schedule.last_epoch == (0 if options else 2)
    if not options:
        rate = WarmupCosine(optimizer, base=1e-3, warmup_steps=1, total_steps=9, cosine=True)
        rate.advance_to(2)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate.last_lrs()[0])


def test_a_released_run_folder_is_read_here(script: ModuleType, trained_run, tmp_path) -> None:
    bundle, path, stage = trained_run
    assert run(script, path, "--to", "published", "--output", tmp_path / "there") == 0
    loaded = load_policy(tmp_path / "there" / path.name)
    expected, actual = bundle.model_state(), loaded.model_state()
    assert all(torch.equal(actual[name], value) for name, value in expected.items())
    assert loaded.network.num_maskmem == 5 and loaded.network.use_memory is bool(stage)


def test_what_the_released_code_cannot_do_is_refused_before_writing(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = load_network("configs/mvt/sam2act.yaml", f"{NARROW} lora_cover full")
    bundle = build_policy(load_experiment("configs/sam2act.yaml", "image_size 64"), network)
    path = tmp_path / "model.pth"
    save_checkpoint(path, {"model_state": bundle.model_state(), "extra": config_extra(bundle)})
    assert run(script, path, "--to", "published", "--output", tmp_path / "there") == 2
    message = capsys.readouterr().err
    assert "image_size 64 (there: 128)" in message
    assert "lora_cover full (there: published)" in message
    assert not (tmp_path / "there").exists()


def test_a_run_folder_is_replaced_on_request_only(
    script: ModuleType, trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path, stage = trained_run
    arguments = (path, "--to", "published", "--output", tmp_path)
    (tmp_path / f"exp_cfg{stage}.yaml").write_text("precious")
    assert run(script, *arguments) == 2
    assert f"exp_cfg{stage}.yaml is there already; --force" in capsys.readouterr().err
    assert [file.read_text() for file in tmp_path.iterdir()] == ["precious"]
    assert run(script, *arguments, "--force") == 0
    read_configs(tmp_path, stage)


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
    name = "SAM2Act+" if bundle.network.use_memory else "SAM2Act"
    for line in (
        f"network: {name}, fits the config inside the file",
        "epoch: 4",
        f"carried unused: {len(bundle.policy.weight_adapter.carried)}",
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
    assert run(script, *arguments) == 2
    assert output.read_text() == "precious" and "--force" in capsys.readouterr().err
    assert run(script, *arguments, "--force") == 0
    assert read_checkpoint(output)["epoch"] == 2


def test_crash_leaves_the_old_file(
    script: ModuleType, tiny_file: Path, tmp_path: Path, monkeypatch
) -> None:
    output = tmp_path / "there.pth"
    output.write_text("precious")

    def crash(*_: object) -> None:
        raise OSError(28, "disk full")

    monkeypatch.setattr(torch, "save", crash)
    assert run(script, tiny_file, "--to", "published", "--output", output, "--force") == 2
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
    assert run(script, tiny_file, "--to", "published", "--output", output) == 2
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
    assert run(script, tmp_path / "nothing.pth", "--dry-run") == 2
    assert "no checkpoint" in capsys.readouterr().err
    assert run(script, tmp_path, "--dry-run") == 2


def test_help_shows_examples(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(script, "--help")
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "--to sam2act --output model.pth" in text


def test_a_policy_without_published_form_is_refused(
    script: ModuleType, tmp_path: Path, monkeypatch, capsys
) -> None:
    targets = {**POLICIES._targets, "other": f"{__name__}:Other"}
    monkeypatch.setattr(POLICIES, "_targets", targets)
    path = tmp_path / "other.pth"
    extra = {"experiment": to_dict(EXPERIMENT), "network": to_dict(OtherConfig())}
    save_checkpoint(path, {"epoch": 0, "model_state": {"w": torch.zeros(1)}, "extra": extra})
    assert script.main([str(path), "--dry-run"]) == 2
    assert f"{path} holds the policy other" in capsys.readouterr().err
