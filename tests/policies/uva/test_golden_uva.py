"""The joint model and both diffusion heads against outputs of the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2act.nn.diffusion.learned_variance import LearnedVarianceDiffusion
from sam2act.nn.diffusion.schedules import cosine_betas
from sam2act.policies.uva.config import MODES, TransformerConfig
from sam2act.policies.uva.modes import visible
from sam2act.policies.uva.network import Clip, JointTransformer, tokens_of
from tests.golden_files import GoldenFile, golden

FILE = "related_uva_mar.npz"
HEADS = 2  # not stored
Arrays = dict[str, np.ndarray]


def stored_model(arrays: Arrays) -> JointTransformer:
    """The model of a golden file; its sizes are read from the weights."""
    prefix = "param/"
    state = {
        n[len(prefix) :]: torch.from_numpy(v) for n, v in arrays.items() if n.startswith(prefix)
    }

    def blocks(part: str) -> int:
        start = part.count(".") + 1
        return 1 + max(int(name.split(".")[start]) for name in state if name.startswith(part + "."))

    config = TransformerConfig(
        autoregressive_model="custom",
        encoder_embed_dim=state["z_proj.weight"].shape[0],
        encoder_depth=blocks("encoder_blocks"),
        decoder_depth=blocks("decoder_blocks"),
        num_heads=HEADS,
        vae_embed_dim=arrays["latents"].shape[2],
        latent_side=arrays["latents"].shape[3],
        action_dim=state["action_proj_cond.weight"].shape[1],
        use_language="fake_latent" in state,
        diffloss_w=state["diffloss.net.input_proj.weight"].shape[0],
        diffloss_d=blocks("diffloss.net.res_blocks"),
        act_diffloss_w=state["diffactloss.net.input_proj.weight"].shape[0],
        act_diffloss_d=blocks("diffactloss.net.res_blocks"),
    )
    model = JointTransformer(config)
    model.load_state_dict(state)
    return model.eval()


def stored_clip(arrays: Arrays, mode: str) -> Clip:
    tokens = {name: tokens_of(torch.from_numpy(arrays[name]), 1) for name in ("latents", "cond")}
    clip = Clip(
        history=tokens["cond"],
        future=tokens["latents"],
        mask=torch.from_numpy(arrays["mask"]).flatten(1).bool(),
        actions=torch.from_numpy(arrays["actions"]),
        text=torch.from_numpy(arrays["text"]),
    )
    return visible(clip, mode)


def close(found: Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


@golden(FILE)
@pytest.mark.parametrize("mode", MODES)
def test_joint_latents_of_every_mode(golden_file: GoldenFile, mode: str) -> None:
    arrays = golden_file.arrays()
    with torch.no_grad():
        close(stored_model(arrays)(stored_clip(arrays, mode)), arrays[f"z/{mode}"])


@golden(FILE)
def test_pooled_latents_and_loss_of_the_actions(golden_file: GoldenFile) -> None:
    arrays = golden_file.arrays()
    head = stored_model(arrays).diffactloss
    with torch.no_grad():
        condition = head.condition(torch.from_numpy(arrays["z/policy_model"]))
        close(condition, arrays["act_latent"])
        loss = head.loss(
            torch.from_numpy(arrays["act_latent"]).flatten(0, 1),
            torch.from_numpy(arrays["actions"]).flatten(0, 1),
            torch.from_numpy(arrays["act_t"]),
            torch.from_numpy(arrays["act_noise"]),
        )
    close(loss.mse, arrays["act_loss_mse"])
    close(loss.bound, arrays["act_loss_vb"])
    close(loss.total, arrays["act_loss_loss"])


@golden(FILE)
def test_schedule_and_one_reverse_step(golden_file: GoldenFile) -> None:
    arrays = golden_file.arrays()
    process = LearnedVarianceDiffusion(cosine_betas(len(arrays["betas"])))
    np.testing.assert_allclose(process.betas.numpy(), arrays["betas"], rtol=1e-9)
    few = process.respaced(len(arrays["gen_timesteps"]))
    assert few.steps.tolist() == arrays["gen_timesteps"].tolist()
    np.testing.assert_allclose(few.betas.numpy(), arrays["gen_betas"], rtol=1e-9)

    value = torch.from_numpy(arrays["rev_xt"])
    index = torch.full((len(value),), int(arrays["rev_step"]))
    condition = torch.from_numpy(arrays["act_latent"]).flatten(0, 1)
    with torch.no_grad():
        output = stored_model(arrays).diffactloss.net(value, few.steps[index], condition)
    for clip in (True, False):
        step = few.reverse(output, value, index, clip=clip)
        close(step.mean, arrays[f"rev_mean_clip{clip}"])
        close(step.log_variance, arrays[f"rev_logvar_clip{clip}"])
        close(step.clean, arrays[f"rev_x0_clip{clip}"])
