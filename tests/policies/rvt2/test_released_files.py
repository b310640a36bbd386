"""Files in the layout of released RVT-2 weights: names, shapes, strict loading by path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from sam2act.config.load import load_experiment, load_network
from sam2act.core.weight_names import WeightsError
from sam2act.policies.checkpoint import PolicyBundle, build_policy, load_policy, stored_configs
from sam2act.policies.rvt2.policy import RVT2Policy

EXPERIMENT = load_experiment("configs/rvt2.yaml")
# The released structure, but narrow.
NARROW = load_network(
    "configs/mvt/rvt2.yaml",
    "depth 2 img_size 56 attn_dim 32 attn_heads 2 attn_dim_head 16 im_channels 16",
)
# Keys of the released network configuration.
RELEASED_KEYS = (
    *("depth", "img_size", "add_proprio", "proprio_dim", "add_lang", "lang_dim", "lang_len"),
    *("img_feat_dim", "feat_dim", "im_channels", "attn_dim", "attn_heads", "attn_dim_head"),
    *("activation", "weight_tie_layers", "attn_dropout", "decoder_dropout", "img_patch_size"),
    *("final_dim", "self_cross_ver", "add_corr", "norm_corr", "add_pixel_loc", "add_depth"),
    *("rend_three_views", "use_point_renderer", "pe_fix", "feat_ver", "wpt_img_aug"),
    *("inp_pre_pro", "inp_pre_con", "cvx_up", "xops", "rot_ver", "num_rot", "stage_two"),
    *("st_sca", "st_wpt_loc_aug", "st_wpt_loc_inp_no_noise", "img_aug_2"),
)
BRANCH_PARTS = {
    "pos_encoding", "proprio_preprocess", "patchify", "lang_preprocess", "fc_bef_attn",
    "fc_aft_attn", "layers", "up0",
}  # fmt: skip
HEAD_PARTS = {
    "feat_fc_ex_rot", "feat_fc_init_bn", "feat_fc_pe", "feat_fc_x", "feat_fc_y", "feat_fc_z"
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle() -> PolicyBundle:
    return build_policy(EXPERIMENT, NARROW, seed=5)


def released_folder(folder: Path, bundle: PolicyBundle, state: dict[str, Tensor]) -> Path:
    """Weights and network config as released: no key names the policy."""
    keys = {key: getattr(bundle.network, key) for key in RELEASED_KEYS}
    (folder / "mvt_cfg.yaml").write_text(yaml.safe_dump(keys))
    torch.save({"epoch": 99, "model_state": state}, folder / "model_99.pth")
    return folder / "model_99.pth"


def test_published_sizes_have_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        policy = build_policy(EXPERIMENT, load_network("configs/mvt/rvt2.yaml")).policy
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts(policy)}
    assert counts == {"coarse branch": 35_669_861, "fine branch": 36_618_817}
    assert sum(p.numel() for p in policy.parameters() if p.requires_grad) == 72_288_678


def parts(policy: RVT2Policy) -> list[tuple[str, torch.nn.Module]]:
    return list(policy.parts().items())


def test_names_are_the_released_ones(bundle: PolicyBundle) -> None:
    names = [name.split(".")[:2] for name in bundle.model_state()]
    assert {part for branch, part in names if branch == "mvt1"} == BRANCH_PARTS
    assert {part for branch, part in names if branch == "mvt2"} == BRANCH_PARTS | HEAD_PARTS
    assert {branch for branch, _ in names} == {"mvt1", "mvt2"}
    width = 2 * 3 * 2 * 16  # maximum and sample of three views with 2 * im_channels each
    assert bundle.model_state()["mvt2.feat_fc_pe.div_term"].shape == (1, width // 2)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_released_files_load_by_path(tmp_path: Path, bundle: PolicyBundle, prefix: str) -> None:
    state = bundle.model_state()
    path = released_folder(tmp_path, bundle, {prefix + n: value for n, value in state.items()})
    loaded = load_policy(path)
    assert type(loaded.policy) is RVT2Policy and loaded.network == NARROW
    assert all(torch.equal(value, state[name]) for name, value in loaded.model_state().items())


def test_bare_files_mean_the_published_configuration(tmp_path: Path, bundle: PolicyBundle) -> None:
    content = {"model_state": bundle.model_state()}
    experiment, network = stored_configs(tmp_path / "model_99.pth", content)
    assert network == load_network("configs/mvt/rvt2.yaml") and experiment == EXPERIMENT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("mvt1.pos_encoding"), "1 missing: mvt1.pos_encoding"),
        (lambda s: s.update({"mvt2.more": torch.zeros(1)}), "1 unexpected: mvt2.more"),
        (lambda s: s.update({"mvt1.pos_encoding": torch.zeros(1)}), "mvt1.pos_encoding .1,., not"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, bundle: PolicyBundle, change, message: str
) -> None:
    state = dict(bundle.model_state())
    change(state)
    path = released_folder(tmp_path, bundle, state)
    with pytest.raises(WeightsError, match=message):
        load_policy(path)
