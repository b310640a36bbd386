"""The coarse branch of RVT-2 against stored outputs; every size is read from the file."""

from __future__ import annotations

import torch
from torch import Tensor

from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.policies.multiview.branch import Branch
from sam2act.policies.multiview.released_names import TWO_STAGE_RULES, renamed
from sam2act.policies.rvt2.config import RVT2Config
from tests.golden_files import GoldenFile, golden

HEADS = 2  # of attention; the stored weights do not tell
PREFIX, PARAMETER = "rvt2_coarse/", "param/"


def stored_config(arrays: dict[str, Tensor]) -> RVT2Config:
    """The sizes that the shapes of the weights tell."""
    shape = {name.removeprefix(PARAMETER): value.shape for name, value in arrays.items()}
    width = shape["pos_encoding"][-1]
    return RVT2Config(
        depth=sum(name.endswith(".fn.to_q.weight") for name in shape),
        img_size=shape["img"][-1],
        img_patch_size=shape["patchify.conv2d.weight"][-1],
        im_channels=width // 2,
        proprio_dim=shape["proprio"][-1],
        lang_len=shape["lang"][1],
        lang_dim=shape["lang"][2],
        attn_dim=shape["fc_bef_attn.linear.weight"][0],
        attn_heads=HEADS,
        attn_dim_head=shape["layers.0.0.fn.to_q.weight"][0] // HEADS,
        upsampler_hidden_multiplier=shape["up0.net_out.0.weight"][0] // width,
    )


@golden("related_rvt.npz")
@torch.no_grad()
def test_coarse_branch_gives_the_published_maps(golden_file: GoldenFile) -> None:
    arrays = {
        name.removeprefix(PREFIX): torch.from_numpy(value)
        for name, value in golden_file.arrays().items()
        if name.startswith(PREFIX)
    }
    config, views = stored_config(arrays), arrays["img"].shape[1]
    branch = Branch(config, feature_channels=0, views=views, with_head=False).eval()
    ours = {renamed(TWO_STAGE_RULES, name): name for name in branch.state_dict()}
    stored = {n.removeprefix(PARAMETER): v for n, v in arrays.items() if n.startswith(PARAMETER)}
    assert set(ours) == set(stored)
    branch.load_state_dict({ours[name]: value for name, value in stored.items()})
    nothing = FeaturePyramid(None, None, torch.zeros(0))
    tokens = branch.tokens(arrays["img"], nothing, arrays["proprio"], arrays["lang"])
    maps = branch.heatmaps(tokens, nothing)
    torch.testing.assert_close(maps, arrays["out/trans"], rtol=1e-4, atol=1e-5)
