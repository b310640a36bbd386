"""Options that make acting faster: reduced precision and compilation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam2act.config.load import changed, load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.policies.checkpoint import (
    PolicyBundle,
    build_policy,
    config_extra,
    load_policy,
    save_checkpoint,
)
from sam2act.policies.multiview.prediction import Prediction
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.session import PolicySession
from tests.policies.noise import batch
from tests.policies.sam2act.test_policy import EXPERIMENT, NETWORK

PLUS = load_network(
    "configs/mvt/tiny_plus.yaml",
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 im_channels 16 "
    "lang_len 4 lang_dim 8 data.points 0 renderer.radius 0.1 head_hidden [16,16] num_maskmem 2",
)


@pytest.fixture(params=["stage one", "with memory"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with fresh weights."""
    network = NETWORK if request.param == "stage one" else PLUS
    bundle = build_policy(EXPERIMENT, network)
    path = tmp_path / "model.pth"
    content = {"model_state": bundle.model_state(), "extra": config_extra(bundle)}
    save_checkpoint(path, content)
    return path


LANGUAGE = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))


def predict(bundle: PolicyBundle) -> Prediction:
    return bundle.policy.predict(batch().observation(), LANGUAGE)


def test_option_decides_the_precision_unless_the_caller_does(checkpoint: Path) -> None:
    bundle = load_policy(checkpoint, experiment_opts="eval.precision bfloat16")
    assert PolicySession(bundle).dtype == torch.bfloat16
    assert PolicySession(bundle, dtype=torch.float32).dtype == torch.float32
    assert PolicySession(load_policy(checkpoint)).dtype == torch.float32


def test_bfloat16_rounds_the_network_and_nothing_else(checkpoint: Path) -> None:
    bundle = load_policy(checkpoint)
    plain = predict(bundle)
    with torch.autocast("cpu", torch.bfloat16):
        half = predict(bundle)
    assert torch.equal(half.output.coarse_images, plain.output.coarse_images)
    maps, expected = half.output.coarse.heatmaps, plain.output.coarse.heatmaps
    assert maps.dtype == torch.float32 and not torch.equal(maps, expected)
    spread = expected.std()
    assert (maps - expected).abs().max() < 0.2 * spread
    assert half.action.values.dtype == plain.action.values.dtype
    assert torch.isfinite(half.action.values).all()


@pytest.mark.slow
def test_compiled_network_acts_the_same(checkpoint: Path) -> None:
    plain = predict(load_policy(checkpoint))
    compiled = predict(load_policy(checkpoint, experiment_opts="eval.compile default"))
    torch.testing.assert_close(
        compiled.output.coarse.heatmaps, plain.output.coarse.heatmaps, rtol=0, atol=1e-4
    )
    torch.testing.assert_close(compiled.action.values, plain.action.values)


@pytest.mark.parametrize(
    ("mode", "marks"), [("default", 0), ("reduce-overhead", 1), ("max-autotune", 1)]
)
def test_graphs_are_told_where_a_call_begins(
    checkpoint: Path, mode: str, marks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: seen.append(1))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)
    bundle = load_policy(checkpoint, experiment_opts=f"eval.compile {mode}")
    predict(bundle)
    assert len(seen) == marks
    draws = TrainingNoise.sample(3, torch.Generator().manual_seed(0))
    bundle.policy.train().loss(batch(), LANGUAGE, draws)
    assert len(seen) == 2 * marks


def test_options_change_a_stored_config() -> None:
    experiment = changed(EXPERIMENT, "eval.precision bfloat16 bs 7")
    assert (experiment.eval.precision, experiment.bs) == ("bfloat16", 7)
    assert experiment.peract == EXPERIMENT.peract and changed(EXPERIMENT, "") == EXPERIMENT
    with pytest.raises(ConfigError, match="the command line: unknown key eval.precise"):
        changed(EXPERIMENT, "eval.precise bfloat16")


@pytest.mark.parametrize(
    "opts", ["eval.precision float64", "eval.compile fast", "peract.compile fast"]
)
def test_unknown_values_are_refused(opts: str) -> None:
    with pytest.raises(ConfigError, match=opts.split()[0]):
        load_experiment("", opts)
