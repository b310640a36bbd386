"""Optimiser states of checkpoints: restoring them, and the released layout.

Here an optimiser holds the trained tensors. The released one holds a single group over all
parameters of its network, trained or not (1037 of the published one), and its LAMB names the
moments as bitsandbytes does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sam2act.core.weight_names import WeightsError, require_finite
from sam2act.core.wording import listing
from sam2act.policies.checkpoint import CheckpointError, PolicyBundle
from sam2act.training.optimizer import ClippedLamb, Lamb

LOGGER = logging.getLogger(__name__)
WEIGHTS_ALONE = "start from its weights alone with --init-from"
MOMENTS = {"exp_avg": "state1", "exp_avg_sq": "state2"}  # ours -> bitsandbytes
CLIPPED, CLASSIC, ADAM = "lamb with bnb True", "lamb with bnb False", "adam"
OURS_ALONE = ("params", "lr_scale", "zero_norm_escape")  # entries of a group


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    state: Any,
    bundle: PolicyBundle,
    written_with: Mapping[str, Any] | None,
) -> None:
    """Load the moments of a checkpoint, ours or released; the hyper-parameters stay those of now.

    Args:
        optimizer: over the groups of `bundle.policy`; changed in place.
        state: the checkpoint's `optimizer_state`.
        bundle: the policy that is trained.
        written_with: the experiment config in the checkpoint, None in a released one.

    Raises:
        CheckpointError: it belongs to another optimiser or other tensors, or is not finite.
    """
    if not isinstance(state, Mapping) or not {"state", "param_groups"} <= state.keys():
        raise CheckpointError(f"the checkpoint's optimizer_state is malformed; {WEIGHTS_ALONE}")
    _check_same_optimizer(bundle, written_with)
    groups = trained_names(bundle)
    order = bundle.policy.weight_adapter.released_order()
    saved = [len(group["params"]) for group in state["param_groups"]]
    own = [len(names) for names in groups]
    if saved == own:
        entries = _entries(state)
    elif saved == [len(order)]:
        entries = _from_released(state, groups, order, optimizer)
    else:
        raise CheckpointError(
            f"the optimiser state of the checkpoint is for {saved} tensors, this run trains "
            f"{own}; {WEIGHTS_ALONE}"
        )
    values = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    layout = optimizer.state_dict()["param_groups"]
    _check_moments(entries, bundle, groups)
    try:
        optimizer.load_state_dict({"state": entries, "param_groups": layout})
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    for group, own_values in zip(optimizer.param_groups, values, strict=True):
        group.update(own_values)


def to_released(state: Mapping[str, Any], bundle: PolicyBundle) -> dict[str, Any]:
    """The optimiser state of our checkpoint in the released layout.

    Args:
        state: the checkpoint's `optimizer_state`.
        bundle: the policy it was written with, of the released architecture.

    Raises:
        CheckpointError: the state is not for the tensors that this policy trains, or the released
            network has other ones.
    """
    order = bundle.policy.weight_adapter.released_order()
    if [len(group["params"]) for group in state["param_groups"]] == [len(order)]:
        return dict(state)  # a released file
    if not order:
        raise CheckpointError(
            "optimizer_state: the released network has other parameters than this policy; leave it "
            "out with --weights-only"
        )
    names = [name for group in trained_names(bundle) for name in group]
    entries = _entries(state)
    count = sum(len(group["params"]) for group in state["param_groups"])
    if count != len(names):
        raise CheckpointError(
            f"optimizer_state is for {count} tensors, this policy trains {len(names)}; leave it "
            "out with --weights-only"
        )
    position = {name: number for number, name in enumerate(order)}
    foreign = [name for name in names if name not in position]
    if foreign:
        raise CheckpointError(
            f"optimizer_state holds tensors that the released network lacks ({listing(foreign)}); "
            "leave it out with --weights-only"
        )
    peract = bundle.experiment.peract
    clipped = peract.optimizer_type == "lamb" and peract.bnb
    group = {k: v for k, v in state["param_groups"][0].items() if k not in OURS_ALONE}
    group.setdefault("initial_lr", group["lr"])  # as a scheduler leaves it
    return {
        "state": {
            position[names[number]]: _as_bitsandbytes(entry) if clipped else dict(entry)
            for number, entry in sorted(entries.items(), key=lambda x: position[names[x[0]]])
        },
        "param_groups": [{**group, "params": list(range(len(order)))}],
    }


def trained_names(bundle: PolicyBundle) -> list[list[str]]:
    """Names in files of the tensors of each parameter group, in the optimiser's order."""
    adapter = bundle.policy.weight_adapter
    names = {
        id(parameter): adapter.parameter_name(name)
        for name, parameter in bundle.policy.named_parameters()
    }
    groups = bundle.policy.parameter_groups()
    return [[names[id(parameter)] for parameter in group["params"]] for group in groups]


def _check_same_optimizer(bundle: PolicyBundle, written_with: Mapping[str, Any] | None) -> None:
    for key in ("optimizer_type", "bnb"):
        now = getattr(bundle.experiment.peract, key)
        before = written_with["peract"][key] if written_with else now
        if before != now:
            raise CheckpointError(
                f"the checkpoint was written with peract.{key} {before}, this run has {now}; "
                f"keep the value, or {WEIGHTS_ALONE}"
            )


def _entries(state: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """State per tensor, numbered through all groups; tensors without any are left out."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    saved = state["state"]
    return {i: saved[number] for i, number in enumerate(numbers) if saved.get(number)}


def _from_released(
    state: Mapping[str, Any],
    groups: Sequence[Sequence[str]],
    order: Sequence[str],
    optimizer: torch.optim.Optimizer,
) -> dict[int, Mapping[str, Any]]:
    released = _entries(state)
    position = {name: number for number, name in enumerate(order)}
    names = [name for group in groups for name in group]
    entries: dict[int, Mapping[str, Any]] = {
        number: _own_entry(name, released[position[name]], optimizer)
        for number, name in enumerate(names)
        if position[name] in released
    }
    LOGGER.info(
        "optimiser state of the released layout: %d of %d trained tensors have moments in it",
        len(entries),
        len(names),
    )
    return entries


def _own_entry(
    name: str, entry: Mapping[str, Any], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """One tensor's state under our names.

    Raises:
        CheckpointError: it is the state of another optimiser.
    """
    kind, wanted = _kind_of_entry(entry), _kind_of_optimizer(optimizer)
    if kind != wanted:
        raise CheckpointError(
            f"the checkpoint's optimiser is {kind}, this run has {wanted}: set "
            f"peract.optimizer_type and peract.bnb as in that run, or {WEIGHTS_ALONE}"
        )
    moments = {ours: entry.get(MOMENTS[ours] if kind == CLIPPED else ours) for ours in MOMENTS}
    if not all(isinstance(x, Tensor) and x.is_floating_point() for x in moments.values()):
        raise CheckpointError(
            f"the optimiser state of {name} lacks a moment or is compressed to 8 bits; "
            f"{WEIGHTS_ALONE}"
        )
    step = int(entry.get("step", 0))
    return {"step": torch.tensor(float(step)) if kind == ADAM else step, **moments}


def _kind_of_entry(entry: Mapping[str, Any]) -> str:
    """Which optimiser leaves such a state; classic LAMB alone counts steps in plain integers."""
    if "state1" in entry:
        return CLIPPED
    return ADAM if isinstance(entry.get("step"), Tensor) else CLASSIC


def _kind_of_optimizer(optimizer: torch.optim.Optimizer) -> str:
    if isinstance(optimizer, ClippedLamb):
        return CLIPPED
    return CLASSIC if isinstance(optimizer, Lamb) else ADAM


def _as_bitsandbytes(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One tensor's state as the LAMB of bitsandbytes keeps it; `unorm_vec` is its work space."""
    moments = {MOMENTS[ours]: entry[ours] for ours in MOMENTS}
    return {"step": int(entry["step"]), **moments, "unorm_vec": torch.zeros(1)}


def _check_moments(
    entries: Mapping[int, Mapping[str, Any]],
    bundle: PolicyBundle,
    groups: Sequence[Sequence[str]],
) -> None:
    """Raise `CheckpointError` unless moments have the shapes of their tensors and are finite."""
    names = [name for group in groups for name in group]
    adapter = bundle.policy.weight_adapter
    shapes = {
        adapter.parameter_name(name): parameter.shape
        for name, parameter in bundle.policy.named_parameters()
    }
    values = {
        f"{names[number]} ({key})": value
        for number, entry in entries.items()
        for key, value in entry.items()
        if key in MOMENTS
    }
    wrong = [x for x, v in values.items() if v.shape != shapes[x.partition(" ")[0]]]
    if wrong:
        raise CheckpointError(
            f"the optimiser state does not fit the tensors of {listing(sorted(wrong))}; "
            f"{WEIGHTS_ALONE}"
        )
    try:
        require_finite(values)
    except WeightsError as error:
        raise CheckpointError(f"the optimiser state: {error}; {WEIGHTS_ALONE}") from error
