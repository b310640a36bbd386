"""The released layout of the weights, both ways."""

from __future__ import annotations

import re

import pytest
import torch

from sam2act.config.load import load_network
from sam2act.nn.image_encoder import build_encoders
from sam2act.policies.multiview.two_stage import TwoStageNetwork
from sam2act.policies.sam2act.published_weights import (
    WeightsError,
    export_state,
    import_state,
    published_name,
    unused_tensors,
)
from tests.golden_files import published_list

CONFIG = load_network(
    "configs/mvt/sam2act.yaml",
    # A narrow network with the published structure.
    "sam2_ckpt '' depth 2 attn_dim 32 attn_heads 2 attn_dim_head 16 im_channels 16",
)
TINY = load_network("configs/mvt/tiny.yaml")


@pytest.fixture(scope="module")
def network() -> TwoStageNetwork:
    torch.manual_seed(0)
    return TwoStageNetwork(CONFIG)


def test_full_size_layout_equals_the_published_list() -> None:
    config = load_network("configs/mvt/sam2act.yaml", "sam2_ckpt ''")
    with torch.device("meta"):
        network = TwoStageNetwork(config)
        state = export_state(network, unused_tensors(config))
    listed = published_list("stage1")
    assert {k: list(v.shape) for k, v in state.items()} == {
        k: v["shape"] for k, v in listed.items()
    }
    trainable = {published_name(n) for n, p in network.named_parameters() if p.requires_grad}
    expected = {
        entry["canonical"]
        for entry in listed.values()
        if entry["trainable"] and "fusion_up" not in entry["canonical"]
    }
    assert trainable == expected


def test_round_trip_restores_every_tensor(network: TwoStageNetwork) -> None:
    carried = {name: torch.randn_like(v) for name, v in unused_tensors(CONFIG).items()}
    state = {name: value.clone() for name, value in export_state(network, carried).items()}
    other, other_carried = TwoStageNetwork(CONFIG), unused_tensors(CONFIG)
    report = import_state(other, other_carried, state)
    assert report.complete and len(report.carried) == len(carried)
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    again = export_state(other, other_carried)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_ddp_prefix_is_accepted(network: TwoStageNetwork) -> None:
    state = export_state(network, unused_tensors(CONFIG))
    prefixed = {f"module.{name}": value for name, value in state.items()}
    assert import_state(TwoStageNetwork(CONFIG), unused_tensors(CONFIG), prefixed).complete


def test_three_copies_share_storage(network: TwoStageNetwork) -> None:
    state = export_state(network, unused_tensors(CONFIG))
    name = "image_encoder.trunk.pos_embed"
    assert len({state[p + name].data_ptr() for p in ("sam2.", "mvt1.sam2.", "mvt2.sam2.")}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("mvt1.pos_encoding"), "1 missing: mvt1.pos_encoding"),
        (lambda state: state.update({"mvt3.x": torch.zeros(1)}), "1 unexpected: mvt3.x"),
        (lambda s: s.update({"mvt2.pos_encoding": torch.zeros(2)}), "mismatched: mvt2.pos_enc"),
        (
            lambda s: s.update({"mvt1.sam2.maskmem_tpos_enc": torch.ones(9, 1, 1, 64)}),
            "differs from",
        ),
    ],
)
def test_unexplained_tensors_are_listed_and_nothing_is_loaded(
    network: TwoStageNetwork, change, message: str
) -> None:
    state = dict(export_state(network, unused_tensors(CONFIG)))
    change(state)
    other = TwoStageNetwork(CONFIG)
    before = other.coarse.tokenizer.position_encoding.clone()
    with pytest.raises(WeightsError, match=re.escape(message)):
        import_state(other, unused_tensors(CONFIG), state)
    assert torch.equal(other.coarse.tokenizer.position_encoding, before)


def test_tiny_network_round_trips_without_sam2_names() -> None:
    network = TwoStageNetwork(TINY)
    state = export_state(network, unused_tensors(TINY))
    assert not any("sam2" in name for name in state)
    other = TwoStageNetwork(TINY)
    assert import_state(other, {}, state).complete
    assert torch.equal(other.encoders[1].stem[0].weight, network.encoders[1].stem[0].weight)


def test_unmapped_module_is_reported() -> None:
    with pytest.raises(WeightsError, match="coarse.new_module.weight"):
        published_name("coarse.new_module.weight")


def test_pretrained_file_fills_trunk_and_neck_and_not_skip_convs(tmp_path) -> None:
    source = build_encoders(load_network("configs/mvt/sam2act.yaml", "sam2_ckpt ''"))[0]
    merged = {}
    for name, value in source.state_dict().items():
        if "linear_" in name:
            continue
        plain = name.replace(".qkv.qkv.", ".qkv.")
        prefix = "sam_mask_decoder." if plain.startswith("conv_s") else "image_encoder."
        merged[prefix + plain] = value
    path = tmp_path / "sam2.pt"
    torch.save({"model": merged}, path)
    config = load_network("configs/mvt/sam2act.yaml", f"sam2_ckpt {path}")
    loaded = build_encoders(config, pretrained=True)[0]
    assert torch.equal(
        loaded.trunk.blocks[3].attn.qkv.qkv.weight, source.trunk.blocks[3].attn.qkv.qkv.weight
    )
    assert torch.equal(loaded.neck.convs[2].conv.bias, source.neck.convs[2].conv.bias)
    assert not torch.equal(loaded.conv_s0.weight, source.conv_s0.weight)  # quirk Q3
    config = load_network(
        "configs/mvt/sam2act.yaml", f"sam2_ckpt {path} skip_convs pretrained_trained"
    )
    loaded = build_encoders(config, pretrained=True)[0]
    assert torch.equal(loaded.conv_s0.weight, source.conv_s0.weight)
    assert loaded.conv_s0.weight.requires_grad
