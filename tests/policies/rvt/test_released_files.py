"""Files in the layout of released RVT weights: names, shapes, strict loading by path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from sam2act.config.load import load_experiment
from sam2act.core.weight_names import WeightsError
from sam2act.policies.checkpoint import load_policy, stored_configs
from sam2act.policies.rvt.policy import RVTPolicy

LAYERS, WIDTH, TOKEN, PIXELS = 8, 512, 128, 64
# Released names and shapes, layers apart.
SHAPES = {
    "pos_encoding": (1, 2000, TOKEN),
    "input_preprocess.conv2d": (PIXELS, 10, 1, 1),
    "proprio_preprocess.linear": (PIXELS, 4),
    "proprio_preprocess.norm": (PIXELS,),
    "patchify.conv2d": (PIXELS, PIXELS, 11, 11),
    "patchify.norm": (PIXELS,),
    "lang_preprocess.linear": (TOKEN, 512),
    "lang_preprocess.norm": (TOKEN,),
    "fc_bef_attn.linear": (WIDTH, TOKEN),
    "fc_aft_attn.linear": (TOKEN, WIDTH),
    "up0.conv_up.0.conv2d": (PIXELS, TOKEN, 11, 11),
    "up0.conv_up.2.conv2d": (PIXELS, PIXELS, 11, 11),
    "final.conv2d": (PIXELS, TOKEN, 3, 3),
    "trans_decoder.conv2d": (1, PIXELS, 3, 3),
    "feat_fc.0": (192, 960),
    "feat_fc.2": (96, 192),
    "feat_fc.4": (220, 96),
}
LAYER_SHAPES = {
    "0.norm": (WIDTH,),
    "0.fn.to_out": (WIDTH, WIDTH),
    "1.norm": (WIDTH,),
    "1.fn.net.0": (8 * WIDTH, WIDTH),
    "1.fn.net.2": (WIDTH, 4 * WIDTH),
}


def released_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the released network, without the prefix of later releases."""
    modules = dict(SHAPES)
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(LAYERS):
        modules |= {f"layers.{i}.{name}": shape for name, shape in LAYER_SHAPES.items()}
        shapes[f"layers.{i}.0.fn.to_q.weight"] = (WIDTH, WIDTH)
        shapes[f"layers.{i}.0.fn.to_kv.weight"] = (2 * WIDTH, WIDTH)
    shapes["pos_encoding"] = modules.pop("pos_encoding")
    for name, shape in modules.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    return shapes


def write_released(path: Path, prefix: str) -> None:
    """A file of a release; every tensor holds one number, so that the file is small."""
    numbers = torch.linspace(-1, 1, 500)
    shapes = released_shapes().items()
    state = {
        prefix + name: numbers[i : i + 1].clone().expand(shape)
        for i, (name, shape) in enumerate(shapes)
    }
    torch.save({"epoch": 14, "model_state": state, "optimizer_state": {}}, path)


@pytest.mark.parametrize("prefix", ["", "mvt1.", "module.mvt1."])
def test_released_file_loads_strictly_by_path(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "model_14.pth"
    write_released(path, prefix)
    policy = load_policy(path).policy
    assert isinstance(policy, RVTPolicy)
    assert sum(p.numel() for p in policy.parameters()) == 36_348_093
    stored = {n.removeprefix(prefix): v for n, v in torch.load(path)["model_state"].items()}
    loaded = policy.weight_adapter.export()
    assert loaded.keys() == {f"mvt1.{name}" for name in stored}
    assert all(torch.equal(loaded[f"mvt1.{name}"], value) for name, value in stored.items())


def test_run_folder_of_the_release_names_no_policy(tmp_path: Path) -> None:
    path = tmp_path / "model_14.pth"
    write_released(path, "")
    keys = {"depth": 8, "img_size": 220, "img_patch_size": 11, "final_dim": 64, "pe_fix": True}
    keys |= {"add_lang": True, "decoder_dropout": 0.0, "feat_dim": 220, "self_cross_ver": 1}
    (tmp_path / "mvt_cfg.yaml").write_text(yaml.safe_dump(keys))
    _, network = stored_configs(path, torch.load(path))
    assert isinstance(network, RVTPolicy.Config)


def test_files_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model_14.pth"
    write_released(path, "mvt1.")
    content = torch.load(path)
    state = content["model_state"]
    del state["mvt1.final.conv2d.bias"]
    state["mvt1.extra"] = torch.zeros(1)
    state["mvt1.feat_fc.4.weight"] = torch.zeros(220, 95)
    torch.save(content, path)
    with pytest.raises(WeightsError, match="missing: mvt1.final.conv2d.bias") as found:
        load_policy(path)
    assert "unexpected: mvt1.extra" in str(found.value)
    assert "mvt1.feat_fc.4.weight (220, 95), not (220, 96)" in str(found.value)


def test_published_experiment() -> None:
    experiment = load_experiment("configs/rvt.yaml")
    samples = experiment.bs * 8
    assert samples == RVTPolicy.published_samples.fget(None) == 24
    assert experiment.epochs * (experiment.train_iter // samples) == 99_990
    assert experiment.peract.lr * samples == pytest.approx(2.4e-3)
    assert not experiment.peract.amp and not experiment.peract.bnb
