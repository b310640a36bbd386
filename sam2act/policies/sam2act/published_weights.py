"""Released state-dict names <-> the names of our modules.

The released layout lists every SAM2 tensor three times (`sam2.X`, `mvt1.sam2.X`, `mvt2.sam2.X`)
and holds tensors that the policy never uses: heads of SAM2, `fusion_up`, and in stage 1 the memory
modules. Those are carried along unchanged (`ReleasedWeights.carried`), so that a file survives a
round trip; a network that never saw a file exports zeros for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import torch
from torch import Tensor, nn

from sam2act.core.weight_names import (
    LoadReport,
    WeightsError,
    describe_misfit,
    mismatch,
    require_finite,
    unwrapped,
)
from sam2act.policies.multiview.released_names import BRANCHES, branch_name, renamed
from sam2act.policies.sam2act.config import NetworkConfig

SAM2_RULES = (
    (r"memory\.attention\.(.+)", r"sam2.memory_attention.\1"),
    (r"memory\.encoder\.(.+)", r"sam2.memory_encoder.\1"),
    (r"memory\.temporal_encoding", r"sam2.maskmem_tpos_enc"),
    (r"encoders\.0\.(trunk|neck)\.(.+)", r"sam2.image_encoder.\1.\2"),
    (r"encoders\.0\.conv_(s[01])\.(\w+)", r"sam2.sam_mask_decoder.conv_\1.\2"),
)
DUPLICATE_PREFIXES = ("mvt1.sam2.", "mvt2.sam2.")
BIN_ENCODING = "mvt2.feat_fc_pe.div_term"
# Tensors whose first axis is num_maskmem.
MEMORY_TABLE = "sam2.maskmem_tpos_enc"
MEMORY_PREFIXES = ("sam2.memory_attention.", "sam2.memory_encoder.", MEMORY_TABLE)
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "div_term", "gaussian_matrix")
# Stage 2 ignores every tensor of a stage-1 file whose name contains one of these.
STAGE_ONE_DROPPED = ("memory_attention", "memory_encoder", "maskmem_tpos_enc")


def published_name(name: str) -> str:
    """The released name of our tensor `name`; names of unreleased modules stay as they are.

    Raises:
        WeightsError: a tensor of a branch that no rule covers (a module without a mapping).
    """
    released = renamed(SAM2_RULES, name)
    if released is not None:
        return released
    return branch_name(name)


def unused_tensors(config: NetworkConfig) -> dict[str, Tensor]:
    """Zeros for every released tensor that this network never uses, by canonical name.

    Empty for networks with another encoder or upsampler, which have no released counterpart.
    """
    if config.encoder != "sam2" or not config.multires_inputs:
        return {}
    text = (
        resources.files("sam2act.policies.sam2act")
        .joinpath("published_unused.json")
        .read_text(encoding="utf-8")
    )
    shapes: dict[str, list[int]] = json.loads(text)
    shapes[MEMORY_TABLE] = [config.num_maskmem, *shapes[MEMORY_TABLE][1:]]
    features = 3 * config.token_width // 8
    for branch in BRANCHES.values():
        shapes[f"{branch}.fusion_up.conv2d.weight"] = [features, 256, 1, 1]
        shapes[f"{branch}.fusion_up.conv2d.bias"] = [features]
    if config.use_memory:
        shapes = {k: v for k, v in shapes.items() if not k.startswith(MEMORY_PREFIXES)}
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def export_state(network: nn.Module, carried: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of `network` in the released layout.

    Args:
        network: a `SAM2ActNetwork`.
        carried: unused tensors by canonical name (`unused_tensors`, or those of a loaded file).

    Returns:
        2462 entries for the published network; the three names of a SAM2 tensor share storage.
    """
    state = {published_name(name): value for name, value in network.state_dict().items()}
    state.update(carried)
    if any(name.startswith("sam2.") for name in state):
        state[BIN_ENCODING] = network.get_buffer("fine.head.bin_encoding.div_term")
        for prefix in DUPLICATE_PREFIXES:
            state.update(
                {
                    prefix + name.removeprefix("sam2."): value
                    for name, value in state.items()
                    if name.startswith("sam2.")
                }
            )
    return state


def import_state(
    network: nn.Module, carried: dict[str, Tensor], state: Mapping[str, Tensor]
) -> LoadReport:
    """Load a state in the released layout into `network`; prefixes of wrappers are taken off.

    Nothing is changed unless everything fits.

    Args:
        network: a `SAM2ActNetwork`; changed in place.
        carried: receives the file's unused tensors; changed in place.
        state: the file's `model_state`.

    Raises:
        WeightsError: missing, unexpected or misshapen tensors, values that are not finite, or
            copies of a SAM2 tensor that differ; the message names them.
    """
    state, conflicts = _canonical(state)
    require_finite(state)
    own = network.state_dict()
    names = {published_name(name): name for name in own}
    report = LoadReport(mismatched=conflicts)
    for name, value in state.items():
        if name not in names and name not in carried:
            report.unexpected.append(name)
            continue
        complaint = mismatch(name, value, own[names[name]] if name in names else carried[name])
        if complaint:
            report.mismatched.append(complaint)
        else:
            (report.loaded if name in names else report.carried).append(name)
    report.missing = [name for name in names if name not in state]
    report.absent = [name for name in carried if name not in state]
    complaints = {x: getattr(report, x) for x in ("missing", "unexpected", "mismatched")}
    report.explanation = describe_misfit(complaints, state, [*names, *carried])
    if not report.complete:
        raise WeightsError(f"the weights do not fit the network: {report.explanation}")
    network.load_state_dict({ours: state[name] for name, ours in names.items()})
    carried.update({name: state[name] for name in report.carried})
    return report


def load_stage_one(
    network: nn.Module, carried: dict[str, Tensor], state: Mapping[str, Tensor]
) -> LoadReport:
    """Load a stage-1 state into a network with memory, whose memory tensors keep their values.

    Whatever the file holds for the memory is ignored, so that `num_maskmem` may differ between the
    stages; all other tensors must fit as in `import_state`.

    Args:
        network: a `SAM2ActNetwork` with memory; changed in place.
        carried: receives the file's unused tensors; changed in place.
        state: the `model_state` of the stage-1 file.

    Returns:
        the report of the load; `fresh` lists the memory tensors.

    Raises:
        WeightsError: as `import_state`.
    """
    kept = {
        name: value
        for name, value in state.items()
        if not any(part in name for part in STAGE_ONE_DROPPED)
    }
    fresh = {
        published_name(name): value
        for name, value in network.state_dict().items()
        if any(part in published_name(name) for part in STAGE_ONE_DROPPED)
    }
    report = import_state(network, carried, {**kept, **fresh})
    report.fresh = sorted(fresh)
    report.loaded = [name for name in report.loaded if name not in fresh]
    return report


def _canonical(state: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Without wrappers, constants and second copies of a tensor; also copies that differ."""
    state = unwrapped(state)
    state.pop(BIN_ENCODING, None)
    canonical: dict[str, Any] = {}
    conflicts = []
    for name, value in state.items():
        short = canonical_name(name)
        if short in canonical and not _equal(canonical[short], value):
            conflicts.append(f"{name} differs from {short}")
        canonical.setdefault(short, value)
    return canonical, conflicts


def _equal(first: Any, second: Any) -> bool:
    if not (isinstance(first, Tensor) and isinstance(second, Tensor)):
        return type(first) is type(second)  # no tensors: refused under their own name
    return first.data_ptr() == second.data_ptr() or torch.equal(first, second)


def canonical_name(name: str) -> str:
    """`sam2.X` for each of the three names of a SAM2 tensor; other names stay as they are."""
    for prefix in DUPLICATE_PREFIXES:
        if name.startswith(prefix):
            return "sam2." + name.removeprefix(prefix)
    return name


# --------------------------------------------------------------------------- order of parameters
def released_parameters(names: Iterable[str]) -> list[str]:
    """The parameters among `names`, in the order of `parameters()` of the released network.

    Args:
        names: of a state in the released layout; second names of a tensor are left out, as
            `parameters()` does.

    Returns:
        canonical names; 1037 for the published network.

    Raises:
        WeightsError: a name that the released network does not have.
    """
    order = _released_order()
    unique = {canonical_name(name) for name in names}
    parameters = [name for name in unique if not name.endswith(BUFFERS)]
    return sorted(parameters, key=lambda name: _place(name, order))


@cache
def _released_order() -> dict[str, Any]:
    """Names of parts below names of parts, in the order in which the released code makes them.

    `*` stands for the numbers of a list of modules.
    """
    text = (
        resources.files("sam2act.policies.sam2act")
        .joinpath("published_order.json")
        .read_text("utf-8")
    )
    tree: dict[str, Any] = json.loads(text)
    return tree


def _place(name: str, tree: dict[str, Any]) -> tuple[int, ...]:
    place = []
    for part in name.split("."):
        key = "*" if part.isdigit() else part
        if key not in tree:
            raise WeightsError(f"the released network has no parameter {name}")
        place.append(int(part) if part.isdigit() else list(tree).index(part))
        tree = tree[key]
    return tuple(place)
