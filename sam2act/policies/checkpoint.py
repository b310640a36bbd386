"""Checkpoint files: reading, writing, and building a policy from one.

A file holds the four published entries `epoch`, `model_state`, `optimizer_state` and
`lr_sched_state`; whatever this project adds stands under `extra`. Loading a published file never
needs `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import (
    changed,
    from_dict,
    load_experiment,
    load_network,
    network_from_dict,
    to_dict,
)
from sam2act.core.errors import ConfigError, UserError
from sam2act.core.files import replacing
from sam2act.core.registry import DEFAULT_POLICY, POLICIES
from sam2act.core.run_folder import RunFolder, epochs_beside, stage_of
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import WeightsError, misfit, require_finite, unwrapped
from sam2act.core.wording import listing
from sam2act.policies.base import BuildOptions, Policy, policy_class


class CheckpointError(UserError):
    """A checkpoint cannot be read; the message names the file and the remedy."""


@dataclass
class PolicyBundle:
    """A policy with everything that is needed to save it again."""

    policy: Policy
    experiment: ExperimentConfig
    network: Any  # a `Config` of the policy
    step: int | None = None  # updates done, where a checkpoint says so
    stage: int = 1  # of training, where it comes from a checkpoint

    def model_state(self) -> dict[str, Tensor]:
        """The weights under the names of files."""
        return self.policy.weight_adapter.export()


def build_policy(
    experiment: ExperimentConfig,
    network: Any,
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


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write atomically: a crash leaves the old file or the new one, never half of one."""
    with replacing(path) as partial, open(partial, "wb") as stream:
        torch.save(dict(content), stream)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, on the CPU, its weights without prefixes of wrappers.

    Only tensors and plain containers are read: a pickle can run any code. A file with nothing but
    weights is read as its `model_state`.

    Raises:
        CheckpointError: absent, damaged, not a checkpoint, or its weights are not finite. The
            message says which, and names the newest sound checkpoint beside it.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"no checkpoint {path}")
    try:
        return _read_sound(path)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {error}{_way_on(path)}") from error.__cause__


def _read_sound(path: Path) -> dict[str, Any]:
    try:
        content = read_weight_file(path)
    except WeightFileError as error:
        raise CheckpointError(str(error)) from error
    if isinstance(content, dict) and "model_state" not in content and _is_state(content):
        content = {"model_state": content}
    if not isinstance(content, dict) or not isinstance(content.get("model_state"), Mapping):
        entries = f", but {listing(sorted(map(str, content)))}" if isinstance(content, dict) else ""
        raise CheckpointError(
            f"{path} has no entry `model_state`{entries}; name a checkpoint of SAM2Act (weights of "
            "SAM2 belong to the key sam2_ckpt, those of CLIP to language.weights_path)"
        )
    try:
        state = unwrapped(content["model_state"])
        require_finite(state)
        extra = _sound_extra(path, content)
        require_finite((extra.get("average") or {}).get("average", {}))
    except WeightsError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return {**content, "model_state": state, **({"extra": extra} if "extra" in content else {})}


def _sound_extra(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The entry `extra`; {} where there is none, as in published files."""
    extra = content.get("extra") or {}
    sections = ("average", "experiment", "network")
    whole = isinstance(extra, Mapping) and ("experiment" in extra) == ("network" in extra)
    if not whole or not all(isinstance(extra.get(x) or {}, Mapping) for x in sections):
        raise CheckpointError(
            f"{path}: its entry `extra` is not what this project writes there; save the file "
            "again without it"
        )
    average = extra.get("average")
    if average and not isinstance(average.get("average"), Mapping):
        raise CheckpointError(
            f"{path}: `extra.average` holds no averaged weights, but "
            f"{listing(sorted(map(str, average)))}; save the file again without it"
        )
    return dict(extra)


def _way_on(path: Path) -> str:
    """Names the newest sound checkpoint of the same run; "" if there is none."""
    for _, other in sorted(epochs_beside(path).items(), reverse=True):
        if other == path:
            continue
        try:
            _read_sound(other)
        except CheckpointError:
            continue
        return (
            f". {other} beside it is sound: to go on training from it add `resume {other}` to "
            f"--exp_cfg_opts, to evaluate it name {other.name}"
        )
    return ""


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
        origin = f"the network config {network_file}" if network_file else _origin(path, content)
        raise WeightsError(f"checkpoint {path} does not fit {origin}. {error}") from error
    extra = content.get("extra", {})
    if extra.get("average") is not None:
        load_average(bundle, extra["average"]["average"], path)
    bundle.step, bundle.stage = extra.get("step"), stage_of(Path(path), content)
    bundle.policy.check_weights()
    bundle.policy.to(device).eval()
    bundle.policy.compile_network(bundle.experiment.eval.compile)
    return bundle


def _origin(path: str | Path, content: Mapping[str, Any]) -> str:
    """Where `stored_configs` found the network config, and what helps if that is the wrong one."""
    if "network" in content.get("extra", {}):
        return "the network config stored in it"
    beside = RunFolder.of(Path(path), content).network
    if beside.is_file():
        return f"the network config {beside}"
    return (
        f"the published network, which was assumed since the file tells no other and {beside} is "
        "absent (put the config of its run there)"
    )


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


def stored_configs(path: Path, content: Mapping[str, Any]) -> tuple[ExperimentConfig, Any]:
    """The configs that belong to a checkpoint (see `load_policy`)."""
    extra = content.get("extra", {})
    if "experiment" in extra:
        return _configs_inside(path, extra)
    run = RunFolder.of(path, content)
    if run.network.is_file():
        experiment = load_experiment(run.experiment if run.experiment.is_file() else "")
        return experiment, load_network(run.network)
    assumed = POLICIES.get(DEFAULT_POLICY).assumed_configs(run.stage, content["model_state"])
    return (
        load_experiment(assumed.experiment),
        load_network(assumed.network, assumed.network_opts),
    )


def _configs_inside(path: Path, extra: Mapping[str, Any]) -> tuple[ExperimentConfig, Any]:
    try:
        return (
            from_dict(ExperimentConfig, extra["experiment"]),
            network_from_dict(extra["network"]),
        )
    except ConfigError as error:
        raise ConfigError(
            f"checkpoint {path}: {error}; use the version of sam2act that wrote the file"
        ) from error


def config_extra(bundle: PolicyBundle) -> dict[str, Any]:
    """The part of `extra` that lets a checkpoint stand on its own."""
    return {"experiment": to_dict(bundle.experiment), "network": to_dict(bundle.network)}


def write_config(path: Path, values: Mapping[str, Any]) -> None:
    """Write a yaml file atomically; other processes may be writing the same one."""
    with replacing(path, shared=True) as partial:
        partial.write_text(yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")


def _is_state(content: Mapping[str, Any]) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())
