"""Parameters split over the processes (FSDP2 of torch), for policies that do not fit one GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sam2act.policies.base import Policy
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.ema import WeightAverage


def shard(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
    world: DistributedContext,
) -> None:
    """Split weights, moments and averages over all processes, which must hold the same ones.

    Args:
        policy: on the CPU or on `world.device`; its parts are moved there one after the other.
        optimizer: over its parameters.
        average: of its weights.
        world: more than one process.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    names: dict[Tensor, str] = {parameter: name for name, parameter in policy.named_parameters()}
    mesh = init_device_mesh(world.device.type, (world.size,))
    for part in policy.sharded_parts():
        fully_shard(part, mesh=mesh)
    fully_shard(policy, mesh=mesh)
    split = dict(policy.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [split[names[parameter]] for parameter in group["params"]]
    states: dict[Tensor, Any] = {
        split[names[parameter]]: {
            key: _split_like(split[names[parameter]], value) for key, value in entry.items()
        }
        for parameter, entry in optimizer.state.items()
    }
    optimizer.state.clear()
    optimizer.state.update(states)
    if average is not None:
        average.average = {
            name: _split_like(split[name], value) for name, value in average.average.items()
        }


def _split_like(parameter: Any, value: Any) -> Any:
    """`value` as `parameter` is split, if it has its shape."""
    from torch.distributed.tensor import distribute_tensor

    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements
    )


def gathered(content: Any, *, keep: bool) -> Any:
    """Nested containers with every split tensor as a whole on the CPU; all processes must call it.

    Args:
        content: dictionaries, lists and tuples.
        keep: False = this process only takes part, and gets nothing instead of tensors.
    """
    from torch.distributed.tensor import DTensor

    if isinstance(content, DTensor):
        whole = content.full_tensor()
        return whole.cpu() if keep else None
    if isinstance(content, dict):
        return {key: gathered(value, keep=keep) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(gathered(value, keep=keep) for value in content)
    return content


def whole(value: Tensor) -> Tensor:
    """`value`, gathered if it is split; all processes must call it."""
    full = getattr(value, "full_tensor", None)
    return value if full is None else full()
