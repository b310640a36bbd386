"""Optimiser states travel: ours into the released layout and back, into the same update."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
import torch

from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import CheckpointError, PolicyBundle, build_policy
from sam2act.policies.sam2act.published_weights import WeightsError, released_parameters
from sam2act.training.optimizer import build_optimizer
from sam2act.training.optimizer_state import (
    restore_optimizer,
    to_released,
    trained_names,
)
from tests.golden_files import published_list
from tests.released_stand_in import ReleasedLamb, ReleasedNetwork, released_network
from tests.small_encoder import SMALL_ENCODER

# The released structure with its SAM2 tensors, but narrow.
NARROW = "sam2_ckpt '' depth 2 attn_dim 32 attn_heads 2 attn_dim_head 16 im_channels 16 "
NARROW += f"{SMALL_ENCODER}memory_hidden 32 num_maskmem 5"


def build(stage: str = "", opts: str = "", network: str = "") -> PolicyBundle:
    experiment = load_experiment(f"configs/sam2act{stage}.yaml", opts)
    narrow = load_network(f"configs/mvt/sam2act{stage}.yaml", f"{NARROW} {network}")
    return build_policy(experiment, narrow, seed=3)


def optimizer_of(bundle: PolicyBundle) -> torch.optim.Optimizer:
    peract = bundle.experiment.peract
    return build_optimizer(
        bundle.policy.parameter_groups(),
        optimizer_type=peract.optimizer_type,
        bnb=peract.bnb,
        lr=1e-3,
        weight_decay=peract.lambda_weight_l2,
    )


def released_order(bundle: PolicyBundle) -> list[str]:
    return bundle.policy.weight_adapter.released_order()


def give_gradients(parameters: dict[str, torch.nn.Parameter], seed: int) -> None:
    """Gradients that depend on the name alone."""
    for name, parameter in parameters.items():
        number = int(hashlib.sha256(f"{name}{seed}".encode()).hexdigest()[:8], 16)
        generator = torch.Generator().manual_seed(number)
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def trained(bundle: PolicyBundle) -> dict[str, torch.nn.Parameter]:
    names = [name for group in trained_names(bundle) for name in group]
    groups = bundle.policy.parameter_groups()
    return dict(zip(names, [p for group in groups for p in group["params"]], strict=True))


def steps(bundle: PolicyBundle, optimizer: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        give_gradients(trained(bundle), seed)
        optimizer.step()


@pytest.fixture(scope="module", params=["", "_plus"])
def stage(request) -> str:
    return request.param


# --------------------------------------------------------------------------------------- order
@pytest.fixture(scope="module")
def full_names() -> dict[str, list[int]]:
    """Names and shapes of the published network, without its values."""
    with torch.device("meta"):
        bundle = build_policy(
            load_experiment("configs/sam2act.yaml"),
            load_network("configs/mvt/sam2act.yaml", "sam2_ckpt ''"),
        )
    return {name: list(value.shape) for name, value in bundle.model_state().items()}


@pytest.mark.parametrize("stage", ["stage1", "plus"])
def test_the_order_of_all_1037_parameters_is_the_released_one(full_names, stage: str) -> None:
    listed = {n: e for n, e in published_list(stage).items() if e["canonical"] == n}
    expected = [name for name, entry in listed.items() if entry["kind"] == "param"]
    assert len(expected) == 1037
    assert released_parameters(reversed(full_names)) == expected
    assert all(full_names[name] == listed[name]["shape"] for name in expected)


def test_names_that_the_released_network_lacks_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"no parameter mvt1\.gate\.weight"):
        released_parameters(["mvt1.pos_encoding", "mvt1.gate.weight"])


def test_a_network_without_released_counterpart_goes_on_from_its_own_state() -> None:
    bundle = build(network="encoder_trainable full lora_finetune False")
    optimizer, again = optimizer_of(bundle), optimizer_of(bundle)
    steps(bundle, optimizer, range(1))
    restore_optimizer(again, optimizer.state_dict(), bundle, None)
    moments = [state["exp_avg"] for state in again.state.values()]
    assert len(moments) == len(trained(bundle)) and all(moment.any() for moment in moments)
    assert released_order(bundle) == []
    with pytest.raises(CheckpointError, match="--weights-only"):
        to_released(optimizer.state_dict(), bundle)


# ------------------------------------------------------------------------------------ both ways
def test_ours_loads_there_and_the_next_update_is_the_same(stage: str) -> None:
    bundle = build(stage)
    optimizer = optimizer_of(bundle)
    steps(bundle, optimizer, range(2))
    state = copy.deepcopy(to_released(optimizer.state_dict(), bundle))  # as a file would be
    there = stand_in(bundle)
    theirs = ReleasedLamb(there.parameters())
    theirs.load_state_dict(state)
    assert len(theirs.param_groups[0]["params"]) == len(released_order(bundle))
    names = trained(bundle)
    parameters = dict(there.named_parameters())
    steps(bundle, optimizer, range(2, 3))
    give_gradients({name: parameters[name] for name in names}, seed=2)
    theirs.step()
    for name, parameter in names.items():
        torch.testing.assert_close(parameters[name], parameter, rtol=1e-5, atol=1e-7)
        assert theirs.state[parameters[name]]["step"] == 3
    untouched = [p for p in there.parameters() if p not in theirs.state]
    assert len(untouched) == len(released_order(bundle)) - len(names)


def stand_in(bundle: PolicyBundle) -> ReleasedNetwork:
    network = released_network(bundle.model_state(), released_order(bundle))
    network.load_state_dict(bundle.model_state())
    return network


def test_theirs_resumes_here_with_the_same_next_update(stage: str) -> None:
    bundle = build(stage)
    there = stand_in(bundle)
    theirs = ReleasedLamb(there.parameters())
    parameters = {name: dict(there.named_parameters())[name] for name in trained(bundle)}
    for seed in range(2):
        give_gradients(parameters, seed)
        theirs.step()
    resumed = build(stage)
    resumed.policy.weight_adapter.load(there.state_dict())
    optimizer = optimizer_of(resumed)
    optimizer.param_groups[0]["lr"] = 1e-3
    restore_optimizer(optimizer, copy.deepcopy(theirs.state_dict()), resumed, None)
    give_gradients(parameters, 2)
    theirs.step()
    steps(resumed, optimizer, range(2, 3))
    for name, parameter in trained(resumed).items():
        torch.testing.assert_close(parameter, parameters[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["optimizer_type adam", "bnb False"])
def test_other_optimisers_keep_their_names(kind: str) -> None:
    bundle = build("", f"peract.{kind}")
    optimizer = optimizer_of(bundle)
    steps(bundle, optimizer, range(2))
    released = to_released(optimizer.state_dict(), bundle)
    order = released_order(bundle)
    assert released["param_groups"][0]["params"] == list(range(len(order)))
    again = optimizer_of(bundle)
    restore_optimizer(again, released, bundle, None)
    mine, other = optimizer.state_dict()["state"], again.state_dict()["state"]
    assert mine.keys() == other.keys()
    for number, entry in mine.items():
        assert float(entry["step"]) == float(other[number]["step"]) == 2
        assert torch.equal(entry["exp_avg_sq"], other[number]["exp_avg_sq"])


# ------------------------------------------------------------------------------------- refusals
@pytest.fixture(scope="module")
def small() -> tuple[PolicyBundle, dict[str, Any]]:
    bundle = build("_plus")
    optimizer = optimizer_of(bundle)
    steps(bundle, optimizer, range(1))
    return bundle, to_released(optimizer.state_dict(), bundle)


def changed(state: dict[str, Any], **values: Any) -> dict[str, Any]:
    """`state` with other values in the entry of its first tensor."""
    first = min(state["state"])
    return {**state, "state": {**state["state"], first: {**state["state"][first], **values}}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"state1": torch.zeros(3)}, "does not fit the tensors of sam2.maskmem_tpos_enc"),
        ({"state1": torch.zeros(3, dtype=torch.uint8)}, "compressed to 8 bits"),
        ({"state2": None}, "lacks a moment"),
        ({"state2": torch.full((5, 1, 1, 64), float("nan"))}, "sam2.maskmem_tpos_enc (exp_avg_sq)"),
    ],
)
def test_moments_that_cannot_be_used_are_named(small, values: dict[str, Any], said: str) -> None:
    bundle, state = small
    with pytest.raises(CheckpointError) as caught:
        restore_optimizer(optimizer_of(bundle), changed(state, **values), bundle, None)
    assert said in str(caught.value) and "--init-from" in str(caught.value)


def test_the_state_of_another_optimiser_is_refused(small) -> None:
    _, state = small
    other = build("_plus", "peract.bnb False")
    with pytest.raises(
        CheckpointError, match="is lamb with bnb True, this run has lamb with bnb F"
    ):
        restore_optimizer(optimizer_of(other), state, other, None)


@pytest.mark.parametrize("state", [{"state": {}}, [1], "text"])
def test_malformed_states_are_refused(small, state: Any) -> None:
    with pytest.raises(CheckpointError, match=r"malformed.*--init-from"):
        restore_optimizer(optimizer_of(small[0]), state, small[0], None)


def test_the_state_of_other_tensors_is_refused(small) -> None:
    bundle, state = small
    few = {"state": {}, "param_groups": [{**state["param_groups"][0], "params": [0, 1]}]}
    with pytest.raises(CheckpointError, match=r"for \[2\] tensors, this run trains \["):
        restore_optimizer(optimizer_of(bundle), few, bundle, None)
    with pytest.raises(CheckpointError, match="is for 2 tensors.*--weights-only"):
        to_released(few, bundle)
