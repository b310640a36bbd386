"""Policies and their checkpoints: building one, and loading one from a file.

What a file holds, and which configurations belong to it, stands in `checkpoint_files` and
`checkpoint_configs`; their names are found here, too.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam2act.config.component import PolicyConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import changed, load_experiment, load_network, to_dict
from sam2act.core.errors import ConfigError
from sam2act.core.run_folder import stage_of
from sam2act.core.weight_names import WeightsError, misfit, unwrapped
from sam2act.policies.base import BuildOptions, Policy, policy_class
from sam2act.policies.checkpoint_configs import config_origin, stored_configs, write_config
from sam2act.policies.checkpoint_files import CheckpointError, read_checkpoint, save_checkpoint
from sam2act.processing.transforms import Transforms

__all__ = [
    "CheckpointError",
    "PolicyBundle",
    "build_policy",
    "config_extra",
    "load_average",
    "load_policy",
    "read_checkpoint",
    "save_checkpoint",
    "stored_configs",
    "write_config",
]


@dataclass
class PolicyBundle:
    """A policy with everything that is needed to save it again."""

    policy: Policy
    experiment: ExperimentConfig
    network: PolicyConfig  # a `Config` of the policy
    step: int | None = None  # updates done, where a checkpoint says so
    stage: int = 1  # of training, where it comes from a checkpoint

    @functools.cached_property
    def transforms(self) -> Transforms:
        """What stands between data or robots and the policy.

        Raises:
            ConfigError, SpecError: the configured ones do not give what the policy wants.
        """
        return Transforms(self.experiment.transforms, self.policy.spec)

    def model_state(self) -> dict[str, Tensor]:
        """The weights under the names of files."""
        return self.policy.weight_adapter.export()


def build_policy(
    experiment: ExperimentConfig,
    network: PolicyConfig,
    *,
    float16: bool = False,
    pretrained: bool = False,
    seed: int = 0,
) -> PolicyBundle:
    """A policy with fresh weights that depend on `seed` alone.

    Args:
        experiment: experiment config.
        network: network config, whose key `policy` chooses the policy.
        float16: training really runs under float16 autocast.
        pretrained: read the public weights that the network config names.
        seed: seed of the initial weights.

    Raises:
        ConfigError: the two configs contradict each other or name a file that is absent.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = BuildOptions(float16=float16, pretrained=pretrained)
        policy = policy_class(network).build(network, experiment, options)
    return PolicyBundle(policy, experiment, network)


def load_policy(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    experiment_file: str | Path = "",
    network_file: str | Path = "",
    experiment_opts: str = "",
) -> PolicyBundle:
    """The policy of a checkpoint, in evaluation mode, with averaged weights where it has them.

    The configuration comes from the given yaml files, else from the checkpoint's `extra`, else from
    the yaml files beside it (`exp_cfg.yaml`, `mvt_cfg.yaml`), else the published one is assumed.
    `experiment_opts` (`"key value"` pairs) change it, for example `eval.precision bfloat16`.
    The layouts of both stages are equal: see `core.run_folder.stage_of` for the stage of a file.

    Raises:
        CheckpointError, WeightsError, ConfigError: the file is absent, unreadable or of another
            architecture; the message says which.
    """
    content = read_checkpoint(path)
    experiment, network = stored_configs(Path(path), content)
    if experiment_file:
        experiment = load_experiment(experiment_file)
    if network_file:
        network = load_network(network_file)
    bundle = build_policy(changed(experiment, experiment_opts), network)
    try:
        bundle.policy.weight_adapter.load(content["model_state"])
    except WeightsError as error:
        origin = (
            f"the network config {network_file}" if network_file else config_origin(path, content)
        )
        raise WeightsError(f"checkpoint {path} does not fit {origin}. {error}") from error
    extra = content.get("extra", {})
    load_transforms(bundle, content, path)
    if extra.get("average") is not None:
        load_average(bundle, extra["average"]["average"], path)
    bundle.step, bundle.stage = extra.get("step"), stage_of(Path(path), content)
    bundle.policy.check_weights()
    bundle.policy.to(device).eval()
    bundle.policy.compile_network(bundle.experiment.eval.compile)
    return bundle


def config_extra(bundle: PolicyBundle) -> dict[str, Any]:
    """The part of `extra` that lets a checkpoint stand on its own."""
    extra = {"experiment": to_dict(bundle.experiment), "network": to_dict(bundle.network)}
    return extra | ({"transforms": bundle.transforms.state_dict()} if bundle.transforms else {})


def load_transforms(bundle: PolicyBundle, content: Mapping[str, Any], path: str | Path) -> None:
    """Give the transforms of a policy the statistics of a checkpoint.

    Raises:
        CheckpointError: it holds those of other transforms, or none.
    """
    stored = content.get("extra", {}).get("transforms", {})
    if not (stored or bundle.transforms.needs_fit):
        return
    if not stored:
        raise CheckpointError(
            f"checkpoint {path}: holds no statistics for the transforms "
            f"{', '.join(bundle.transforms.texts)}; use the transforms of its run"
        )
    try:
        bundle.transforms.load_state_dict(stored)
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error


def load_average(bundle: PolicyBundle, average: Mapping[str, Tensor], path: str | Path) -> None:
    """Replace the trained weights by those of a moving average, by the names of the policy.

    Raises:
        CheckpointError: they belong to another network.
    """
    average = unwrapped(average)
    own = bundle.policy.state_dict()
    complaint = misfit(average, {name: own[name] for name in average if name in own})
    if complaint:
        raise CheckpointError(f"checkpoint {path}: its averaged weights do not fit: {complaint}")
    bundle.policy.load_state_dict(average, strict=False)
