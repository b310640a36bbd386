"""The branch of RVT against stored outputs; every size is read from the file."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from sam2act.policies.multiview.one_stage_branch import OneStageBranch, OneStageBranchConfig
from sam2act.policies.multiview.released_names import ONE_STAGE_RULES, renamed
from tests.golden_files import GoldenFile, golden

HEADS = 2  # of attention; the stored weights do not tell
PREFIX = "rvt1/"


@dataclasses.dataclass(frozen=True)
class StoredConfig(OneStageBranchConfig):
    """Sizes of the stored branch, which encodes no colours."""

    @property
    def encodes_colors(self) -> bool:
        return False


def stored_config(arrays: dict[str, Tensor]) -> StoredConfig:
    """The sizes that the shapes of the weights tell."""
    shape = {name.removeprefix("param/"): value.shape for name, value in arrays.items()}
    inner = shape["layers.0.0.fn.to_q.weight"][0]
    return StoredConfig(
        depth=sum(name.endswith(".fn.to_q.weight") for name in shape),
        img_size=shape["img"][-1],
        img_patch_size=shape["patchify.conv2d.weight"][-1],
        im_channels=shape["patchify.conv2d.weight"][0],
        proprio_dim=shape["proprio"][-1],
        lang_len=shape["lang"][1],
        lang_dim=shape["lang"][2],
        attn_dim=shape["fc_bef_attn.linear.weight"][0],
        attn_heads=HEADS,
        attn_dim_head=inner // HEADS,
        feed_forward_multiplier=shape["layers.0.1.fn.net.2.weight"][1]
        // shape["layers.0.1.fn.net.2.weight"][0],
        decoder_kernel=shape["up0.conv_up.0.conv2d.weight"][-1],
        final_dim=shape["trans_decoder.conv2d.weight"][1],
        num_rot=(shape["out/feat"][-1] - 4) // 3,
    )


@golden("related_rvt.npz")
def test_one_stage_branch_gives_the_published_maps_and_scores(golden_file: GoldenFile) -> None:
    arrays = {
        name.removeprefix(PREFIX): torch.from_numpy(value)
        for name, value in golden_file.arrays().items()
        if name.startswith(PREFIX)
    }
    branch = OneStageBranch(stored_config(arrays), views=arrays["img"].shape[1]).eval()
    released = {renamed(ONE_STAGE_RULES, name): name for name in branch.state_dict()}
    stored = {n.removeprefix("param/"): v for n, v in arrays.items() if n.startswith("param/")}
    assert set(released) == set(stored)
    branch.load_state_dict({released[name]: value for name, value in stored.items()})
    with torch.no_grad():
        found = branch(arrays["img"], None, arrays["proprio"], arrays["lang"])
    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found.heatmaps[:, :, 0], arrays["out/trans"], **tolerance)
    torch.testing.assert_close(found.scores[:, 0], arrays["out/feat"], **tolerance)


def test_published_sizes_have_the_published_number_of_parameters() -> None:
    branch = OneStageBranch(StoredConfig(), views=5)
    assert sum(p.numel() for p in branch.parameters()) == 36_348_093


def test_even_convolutions_of_the_decoder_are_refused() -> None:
    with pytest.raises(Exception, match="decoder's convolutions need an odd side, not 14"):
        StoredConfig(img_size=224, img_patch_size=14)
    assert StoredConfig(img_size=224, img_patch_size=14, decoder_kernel=13).kernel == 13
