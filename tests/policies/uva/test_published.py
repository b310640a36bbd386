"""The published call, on a checkpoint of this project and on a released one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.core.types import ContractError
from sam2act.policies.checkpoint import PolicyBundle, config_extra, save_checkpoint
from sam2act.policies.uva.published import load_uva
from tests.policies.uva.test_policy import EXPERIMENT, built

SCALE, OFFSET = torch.tensor([0.01, 0.02]), torch.tensor([-1.0, 0.5])


def released(path: Path) -> dict[str, Tensor]:
    """A released checkpoint of a small network whose latents have no patches."""
    policy = built(patch_size=1, image_side=64)
    state = {n: v for n, v in policy.state_dict().items() if n.startswith("model.")}
    state |= {
        "normalizer.params_dict.action.scale": SCALE,
        "normalizer.params_dict.action.offset": OFFSET,
    }
    torch.save({"cfg": None, "state_dicts": {"ema_model": state}, "pickles": {}}, path)
    return state


def test_a_released_checkpoint_predicts_in_units_of_its_data(tmp_path: Path) -> None:
    path = tmp_path / "uva.ckpt"
    state = released(path)
    changes = {"act_diff_testing_steps": 3, "num_heads": 2}
    policy = load_uva(path, **changes)
    assert policy.policy.config.encoder_embed_dim == 8
    assert torch.equal(
        policy.policy.state_dict()["model.z_proj.weight"], state["model.z_proj.weight"]
    )
    pictures = torch.rand(2, 16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    policy.policy.vae_model.scale.fill_(1.0)
    found = policy.predict_action({"image": pictures})
    assert set(found) == {"action", "action_pred"}
    assert found["action"].shape == (2, 8, 2) and found["action_pred"].shape == (2, 16, 2)
    assert torch.equal(found["action"], found["action_pred"][:, :8])
    normalised = found["action_pred"] * SCALE + OFFSET
    assert normalised.abs().max() <= 1 + 1e-5 and found["action_pred"][..., 0].max() > 1.5
    # The same from bytes; frames that it does not look at do not matter.
    other = (pictures * 255).round().to(torch.uint8)
    other[:, 4:7] = 0
    torch.testing.assert_close(policy.predict_action({"image": other}), found)


def test_a_checkpoint_of_this_project(tmp_path: Path) -> None:
    bundle, path = PolicyBundle(built(), EXPERIMENT, built().config), tmp_path / "model_last.pth"
    save_checkpoint(path, {"model_state": bundle.model_state(), "extra": config_extra(bundle)})
    policy = load_uva(path)
    found = policy.predict_action({"img": torch.zeros(1, 16, 3, 16, 16)})
    assert found["action"].shape == (1, 8, 2)
    with pytest.raises(ContractError, match="expected image, got state"):
        policy.predict_action({"state": torch.zeros(1)})
    with pytest.raises(
        ContractError, match=r"expected image \(B, 16, 3, H, W\), got \(1, 3, 16, 16\)"
    ):
        policy.predict_action({"image": torch.zeros(1, 3, 16, 16)})


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "uva.ckpt"
    state = released(path)
    del state["model.z_proj.bias"]
    torch.save({"state_dicts": {"model": state}}, path)
    with pytest.raises(ConfigError, match=r"1 missing: model.z_proj.bias"):
        load_uva(path, num_heads=2)
    torch.save({"state_dicts": {"model": {"x": torch.zeros(1)}}}, path)
    with pytest.raises(ConfigError, match="has no model.z_proj.weight; is it a checkpoint of UVA"):
        load_uva(path)
