"""Weights of earlier stages, of MAR and of released checkpoints: what fits is taken."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.policies.uva.pretrained import load_autoencoder, load_matching
from sam2act.policies.uva.released_files import action_scaling, read_released
from sam2act.processing.statistics import Scaling
from tests.policies.uva.test_policy import EXPERIMENT, SMALL, built


class Settings:
    """An object of somebody else's."""


def test_an_earlier_stage_is_taken_by_name_and_shape(tmp_path: Path) -> None:
    first, path = built(predict_action=False), tmp_path / "model_last.pth"
    state = {name: value + 1 for name, value in first.state_dict().items()}
    average = {"model.z_proj.weight": state["model.z_proj.weight"] + 1}
    torch.save({"model_state": state, "extra": {"average": {"average": average}}}, path)
    second = built(act_diffloss_w=16)
    before = {name: value.clone() for name, value in second.state_dict().items()}
    report = load_matching(second, str(path))
    after = second.state_dict()
    assert torch.equal(after["model.z_proj.bias"], state["model.z_proj.bias"])
    assert torch.equal(after["model.z_proj.weight"], average["model.z_proj.weight"])
    wider = "model.diffactloss.net.cond_embed.weight"
    assert torch.equal(after[wider], before[wider])
    assert wider in report.mismatched and wider in report.fresh
    assert len(report.loaded) + len(report.fresh) == len(after)
    assert "tensors loaded" in str(report) and "start fresh" in str(report)


def test_weights_of_mar_lack_a_part_of_their_names(tmp_path: Path) -> None:
    policy, path = built(), tmp_path / "mar.pth"
    own = {n.removeprefix("model."): v + 1 for n, v in policy.state_dict().items()}
    own = {n: v for n, v in own.items() if not n.startswith("vae_model.")}
    torch.save({"model_ema": own | {"class_emb.weight": torch.zeros(3)}, "model": {}}, path)
    report = load_matching(policy, str(path))
    assert torch.equal(policy.state_dict()["model.z_proj.bias"], own["z_proj.bias"])
    assert report.unexpected == ["model.class_emb.weight"]
    assert all(name.startswith("vae_model.") for name in report.fresh)


def test_released_checkpoints_are_read_without_running_them(tmp_path: Path) -> None:
    policy, path = built(), tmp_path / "uva.ckpt"
    trained = {f"module.{n}": v for n, v in policy.state_dict().items()}
    scale, offset = torch.tensor([0.5, 2.0]), torch.tensor([-1.0, 0.25])
    averaged = {n: v + 1 for n, v in trained.items()}
    averaged["normalizer.params_dict.action.scale"] = scale
    averaged["normalizer.params_dict.action.offset"] = offset
    payload = {
        "cfg": Settings(),
        "state_dicts": {"model": trained, "ema_model": averaged},
        "pickles": {"epoch": b""},
    }
    torch.save(payload, path)
    load_matching(policy, str(path))
    name = "model.z_proj.weight"
    assert torch.equal(policy.state_dict()[name], averaged[f"module.{name}"])
    state = read_released(path)["state"]
    ours = Scaling("actions", policy.spec.action.components, "limits")
    ours.load_state_dict(action_scaling(state))
    values = torch.tensor([[3.0, -1.0]])
    torch.testing.assert_close(ours.forward(values), values * scale + offset)


def test_the_autoencoder_alone(tmp_path: Path) -> None:
    source, target, path = built(), built(), tmp_path / "vae.pth"
    state = {n: v + 1 for n, v in source.state_dict().items() if n.startswith("vae_model.")}
    torch.save(state, path)
    load_autoencoder(target, str(path))
    for name, value in target.vae_model.state_dict().items():
        assert torch.equal(value, state[f"vae_model.{name}"])
    torch.save({"something": torch.zeros(2)}, path)
    with pytest.raises(ConfigError, match="vae_weights: .* does not fit"):
        load_autoencoder(target, str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.zeros(1)}, "holds no tensor that fits"),
        ([torch.zeros(1)], "expected tensors by name"),
        ({"state_dicts": {"model": {}}}, "holds neither ema_model nor model"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "file.pth"
    torch.save(content, path)
    with pytest.raises(ConfigError, match=message):
        load_matching(built(), str(path))
    with pytest.raises(ConfigError, match="pretrained_model_path: absent.pth not found"):
        load_matching(built(), "absent.pth")


def test_the_published_autoencoder_has_its_size() -> None:
    pytest.importorskip("diffusers")
    from sam2act.policies.uva.autoencoder import KL16Autoencoder

    with torch.device("meta"):
        autoencoder = KL16Autoencoder()
    count = sum(parameter.numel() for parameter in autoencoder.parameters())
    assert round(count / 1e6, 1) == 66.5


def test_the_preset_without_its_package_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    import sam2act.policies.uva.autoencoder as module
    from sam2act.policies.base import BuildOptions
    from sam2act.policies.uva.policy import UVAPolicy

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", absent)
    published = dataclasses.replace(
        SMALL, vae="kl16", image_side=256, latent_side=16, vae_embed_dim=16, patch_size=1
    )
    with pytest.raises(ConfigError, match=r"pip install 'sam2act\[uva\]', or set vae: small"):
        UVAPolicy.build(published, EXPERIMENT, BuildOptions())
