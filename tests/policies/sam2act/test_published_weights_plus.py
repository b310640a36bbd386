"""The released layout of SAM2Act+, both ways, and what stage 2 takes from a stage-1 file."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.policies.multiview.two_stage import TwoStageNetwork
from sam2act.policies.sam2act.network import SAM2ActNetwork
from sam2act.policies.sam2act.published_weights import (
    MEMORY_TABLE,
    WeightsError,
    export_state,
    import_state,
    load_stage_one,
    published_name,
    unused_tensors,
)
from tests.golden_files import published_list

# Narrow networks with the published structure.
NARROW = "sam2_ckpt '' attn_dim 32 attn_heads 2 attn_dim_head 16 im_channels 16 "
NARROW += "memory_hidden 32 "
PLUS = load_network("configs/mvt/sam2act_plus.yaml", NARROW + "num_maskmem 3")
STAGE_ONE = load_network("configs/mvt/sam2act.yaml", NARROW + "num_maskmem 9")
LIVE_TENSORS, LIVE_PARAMETERS = 185, 4_841_293
DROPPED = ("memory_attention", "memory_encoder", "maskmem_tpos_enc")


@pytest.fixture(scope="module")
def plus() -> SAM2ActNetwork:
    torch.manual_seed(0)
    return SAM2ActNetwork(PLUS)


@pytest.fixture(scope="module")
def stage_one_state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    network = TwoStageNetwork(STAGE_ONE)
    carried = {name: torch.randn_like(value) for name, value in unused_tensors(STAGE_ONE).items()}
    return {name: value.clone() for name, value in export_state(network, carried).items()}


@pytest.fixture(scope="module")
def full_size() -> SAM2ActNetwork:
    with torch.device("meta"):
        return SAM2ActNetwork(load_network("configs/mvt/sam2act_plus.yaml", "sam2_ckpt ''"))


def test_full_size_layout_equals_the_published_list(full_size: SAM2ActNetwork) -> None:
    listed = published_list("plus")
    state = export_state(full_size, unused_tensors(full_size.config))
    assert {name: list(value.shape) for name, value in state.items()} == {
        name: entry["shape"] for name, entry in listed.items()
    }


def test_trained_tensors_are_the_flagged_ones_without_the_unused_heads(
    full_size: SAM2ActNetwork,
) -> None:
    listed = published_list("plus")
    trained = {
        published_name(name): parameter.numel()
        for name, parameter in full_size.named_parameters()
        if parameter.requires_grad
    }
    assert (len(trained), sum(trained.values())) == (LIVE_TENSORS, LIVE_PARAMETERS)
    flagged = {entry["canonical"] for entry in listed.values() if entry["trainable"]}
    assert set(trained) == flagged - set(unused_tensors(full_size.config))


def test_export_of_an_import_is_the_file_itself(plus: SAM2ActNetwork) -> None:
    carried = {name: torch.randn_like(value) for name, value in unused_tensors(PLUS).items()}
    file = {name: value.clone() for name, value in export_state(plus, carried).items()}
    assert file[MEMORY_TABLE].any() and len(file) == 2462
    torch.manual_seed(5)
    other, other_carried = SAM2ActNetwork(PLUS), unused_tensors(PLUS)
    report = import_state(other, other_carried, file)
    assert report.complete and not report.fresh
    again = export_state(other, other_carried)
    assert again.keys() == file.keys()
    assert [name for name in file if not torch.equal(again[name], file[name])] == []


def test_a_file_with_three_faults_is_refused_and_all_are_named(plus: SAM2ActNetwork) -> None:
    file = dict(export_state(plus, unused_tensors(PLUS)))
    file["mvt1.renamed"] = file.pop("mvt1.pos_encoding")
    del file["mvt2.up0.1.weight"]
    file["mvt2.extra"] = torch.zeros(1)
    before = copy.deepcopy(plus.state_dict())
    with pytest.raises(WeightsError) as caught:
        import_state(plus, unused_tensors(PLUS), file)
    message = str(caught.value)
    assert "2 missing: mvt1.pos_encoding, mvt2.up0.1.weight" in message
    assert "2 unexpected: mvt1.renamed, mvt2.extra" in message
    assert all(torch.equal(value, before[name]) for name, value in plus.state_dict().items())


# ------------------------------------------------------------------------- stage 1 -> stage 2
def test_stage_one_file_leaves_exactly_the_new_tensors_fresh(
    stage_one_state: dict[str, Tensor],
) -> None:
    torch.manual_seed(2)
    network, carried = SAM2ActNetwork(PLUS), unused_tensors(PLUS)
    before = copy.deepcopy(network.state_dict())
    report = load_stage_one(network, carried, stage_one_state)
    after = {published_name(name): value for name, value in network.state_dict().items()}
    new = {published_name(name) for name in before if name.startswith("memory.")}
    assert set(report.fresh) == new == {n for n in after if any(part in n for part in DROPPED)}
    assert report.complete and set(report.loaded) == set(after) - new
    for name, value in before.items():
        expected = value if name.startswith("memory.") else stage_one_state[published_name(name)]
        assert torch.equal(after[published_name(name)], expected), name
    assert set(report.carried) == set(carried)
    assert all(torch.equal(carried[name], stage_one_state[name]) for name in carried)
    assert f"{len(new)} start fresh" in str(report)


def test_stage_one_file_of_another_run_length_or_with_ddp_prefix_loads(
    stage_one_state: dict[str, Tensor],
) -> None:
    assert len(stage_one_state[MEMORY_TABLE]) != PLUS.num_maskmem
    prefixed = {f"module.{name}": value for name, value in stage_one_state.items()}
    report = load_stage_one(SAM2ActNetwork(PLUS), unused_tensors(PLUS), prefixed)
    assert report.fresh and not report.missing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("mvt1.pos_encoding"), "1 missing: mvt1.pos_encoding"),
        (lambda state: state.update({"mvt3.x": torch.zeros(1)}), "1 unexpected: mvt3.x"),
    ],
)
def test_stage_one_file_must_fit_otherwise(
    stage_one_state: dict[str, Tensor], plus: SAM2ActNetwork, change, message: str
) -> None:
    state = dict(stage_one_state)
    change(state)
    with pytest.raises(WeightsError, match=re.escape(message)):
        load_stage_one(plus, unused_tensors(PLUS), state)


def test_stage_one_of_a_tiny_network_loads() -> None:
    """Networks with an encoder of their own have no released heads to carry."""
    sizes = "img_size 32 depth 2 memory_mask_size 32 "
    stage_one = TwoStageNetwork(load_network("configs/mvt/tiny.yaml", sizes))
    plus = SAM2ActNetwork(load_network("configs/mvt/tiny.yaml", sizes + "use_memory True"))
    report = load_stage_one(plus, {}, export_state(stage_one, {}))
    assert len(report.fresh) == len(plus.memory.state_dict())
    expected = stage_one.coarse.tokenizer.position_encoding
    assert torch.equal(plus.coarse.tokenizer.position_encoding, expected)
