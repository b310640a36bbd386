"""The configurations that belong to a checkpoint: inside it, beside it, or assumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sam2act.config.component import PolicyConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import (
    POLICY,
    from_dict,
    keys_of,
    load_experiment,
    load_network,
    network_from_dict,
)
from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing
from sam2act.core.registry import DEFAULT_POLICY, POLICIES
from sam2act.core.run_folder import RunFolder
from sam2act.core.weight_names import unwrapped


def stored_configs(path: Path, content: Mapping[str, Any]) -> tuple[ExperimentConfig, PolicyConfig]:
    """The configs that belong to a checkpoint (see `load_policy`)."""
    extra = content.get("extra", {})
    if "experiment" in extra:
        return _configs_inside(path, extra)
    run = RunFolder.of(path, content)
    if run.network.is_file():
        experiment = load_experiment(run.experiment if run.experiment.is_file() else "")
        unnamed = POLICY not in keys_of(run.network)
        policy = f"{POLICY} {_released_policy(content)}" if unnamed else ""
        return experiment, load_network(run.network, policy)
    assumed = POLICIES.get(_released_policy(content)).assumed_configs(
        run.stage, content["model_state"]
    )
    return (
        load_experiment(assumed.experiment),
        load_network(assumed.network, assumed.network_opts),
    )


def _released_policy(content: Mapping[str, Any]) -> str:
    """The name of the policy whose released weights a file holds; the default one if none does."""
    state = unwrapped(content["model_state"])
    recognised = (name for name in POLICIES.names() if POLICIES.get(name).recognises(state))
    return next(recognised, DEFAULT_POLICY)


def _configs_inside(path: Path, extra: Mapping[str, Any]) -> tuple[ExperimentConfig, PolicyConfig]:
    try:
        return (
            from_dict(ExperimentConfig, extra["experiment"]),
            network_from_dict(extra["network"]),
        )
    except ConfigError as error:
        raise ConfigError(
            f"checkpoint {path}: {error}; use the version of sam2act that wrote the file"
        ) from error


def config_origin(path: str | Path, content: Mapping[str, Any]) -> str:
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


def write_config(path: Path, values: Mapping[str, Any]) -> None:
    """Write a yaml file atomically; other processes may be writing the same one."""
    with replacing(path, shared=True) as partial:
        partial.write_text(yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")
