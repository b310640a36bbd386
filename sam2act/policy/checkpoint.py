"""Checkpoint files: reading, writing, and building a policy from one.

A file holds the four published entries `epoch`, `model_state`, `optimizer_state` and
`lr_sched_state`; whatever this project adds stands under `extra`. Loading a published file never
needs `extra`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from sam2act.config.load import changed, from_dict, load_experiment, load_network, to_dict
from sam2act.config.schema import ConfigError, ExperimentConfig, NetworkConfig
from sam2act.models.published_weights import (
    MEMORY_TABLE,
    LoadReport,
    WeightsError,
    export_state,
    import_state,
    load_stage_one,
    unused_tensors,
)
from sam2act.models.sam2act_plus import SAM2ActPlusNetwork
from sam2act.models.two_stage import TwoStageNetwork
from sam2act.policy.plus import SAM2ActPlusPolicy
from sam2act.policy.policy import PolicySettings, SAM2ActPolicy


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message names the file and the remedy."""


@dataclass
class PolicyBundle:
    """A policy with everything that is needed to save it again."""

    policy: SAM2ActPolicy
    experiment: ExperimentConfig
    network: NetworkConfig
    carried: dict[str, Tensor]  # unused tensors of the released layout
    step: int | None = None  # updates done, where a checkpoint says so

    def model_state(self) -> dict[str, Tensor]:
        """The weights in the released layout."""
        return export_state(self.policy.network, self.carried)

    def load_model_state(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Replace the weights by those of a file in the released layout.

        Raises:
            WeightsError: a tensor is missing, unexpected or misshapen; nothing is changed.
        """
        return import_state(self.policy.network, self.carried, state)

    def load_stage_one(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Load a stage-1 file into a network with memory, which keeps its fresh values.

        Raises:
            WeightsError: a tensor is missing, unexpected or misshapen; nothing is changed.
        """
        return load_stage_one(self.policy.network, self.carried, state)


def build_policy(
    experiment: ExperimentConfig,
    network: NetworkConfig,
    *,
    float16: bool = False,
    pretrained: bool = False,
    seed: int = 0,
) -> PolicyBundle:
    """A policy with fresh weights that depend on `seed` alone.

    Args:
        experiment: experiment config.
        network: network config.
        float16: training really runs under float16 autocast.
        pretrained: read the image encoder from `sam2_ckpt`.
        seed: seed of the initial weights.

    Raises:
        ConfigError: the two configs contradict each other or name a file that is absent.
    """
    check_compatible(experiment, network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings = PolicySettings.from_configs(experiment, network, float16=float16)
        policy: SAM2ActPolicy
        if network.use_memory:
            plus = SAM2ActPlusNetwork(network, pretrained=pretrained)
            policy = SAM2ActPlusPolicy(plus, settings)
        else:
            policy = SAM2ActPolicy(TwoStageNetwork(network, pretrained=pretrained), settings)
    return PolicyBundle(policy, experiment, network, unused_tensors(network))


def check_compatible(experiment: ExperimentConfig, network: NetworkConfig) -> None:
    """Raise `ConfigError` where the two configs contradict each other."""
    bins = experiment.peract.num_rotation_classes
    if network.num_rot != bins:
        raise ConfigError(
            f"num_rot {network.num_rot} (network config) must equal "
            f"peract.num_rotation_classes {bins} (experiment config)"
        )


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write atomically: a crash leaves the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with open(partial, "wb") as stream:
        torch.save(dict(content), stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, on the CPU.

    Only tensors and plain containers are read: a pickle can run any code.

    Raises:
        CheckpointError: absent, unreadable, not a checkpoint, or holding other objects.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # One line of torch's text: the rest advises to read the file unsafely.
        lines = str(error).splitlines() or [""]
        reason = next((x.strip() for x in lines if "GLOBAL" in x), lines[0])
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({type(error).__name__}: {reason}). Is it a "
            "complete download? A file with objects other than tensors and plain containers is "
            "refused, because it could run any code: save it again with its `model_state` only"
        ) from error
    if isinstance(content, dict) and "model_state" not in content and _is_state(content):
        content = {"model_state": content}
    if not isinstance(content, dict) or "model_state" not in content:
        raise CheckpointError(f"checkpoint {path} has no entry `model_state`")
    return content


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
    The layouts of both stages are equal, so without `extra` the word "plus" in the file's name
    (not in its folder's) says that it is of stage 2.

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
        bundle.load_model_state(content["model_state"])
    except WeightsError as error:
        origin = f"the network config {network_file}" if network_file else "its network config"
        raise WeightsError(f"checkpoint {path} does not fit {origin}. {error}") from error
    extra = content.get("extra", {})
    if extra.get("average") is not None:
        _load_average(bundle, extra["average"]["average"], path)
    bundle.step = extra.get("step")
    bundle.policy.check_dead_lora()
    bundle.policy.to(device).eval()
    bundle.policy.compile_network(bundle.experiment.eval.compile)
    return bundle


def _load_average(bundle: PolicyBundle, average: Mapping[str, Tensor], path: str | Path) -> None:
    incompatible = bundle.policy.load_state_dict(average, strict=False)
    if incompatible.unexpected_keys:
        raise CheckpointError(
            f"checkpoint {path}: its averaged weights hold unknown tensors "
            f"{', '.join(incompatible.unexpected_keys)}"
        )


def stored_configs(
    path: Path, content: Mapping[str, Any]
) -> tuple[ExperimentConfig, NetworkConfig]:
    """The configs that belong to a checkpoint (see `load_policy`)."""
    extra = content.get("extra", {})
    if "experiment" in extra:
        return (
            from_dict(ExperimentConfig, extra["experiment"]),
            from_dict(NetworkConfig, extra["network"]),
        )
    folder, suffix = path.parent, "_plus" if "plus" in path.stem else ""
    if (folder / f"mvt_cfg{suffix}.yaml").is_file():
        experiment_file = folder / f"exp_cfg{suffix}.yaml"
        experiment = load_experiment(experiment_file if experiment_file.is_file() else "")
        return experiment, load_network(folder / f"mvt_cfg{suffix}.yaml")
    state = content["model_state"]
    memory_table = state.get(MEMORY_TABLE, state.get(f"module.{MEMORY_TABLE}"))
    opts = "" if memory_table is None else f"num_maskmem {len(memory_table)}"
    return (
        load_experiment(f"configs/sam2act{suffix}.yaml"),
        load_network(f"configs/mvt/sam2act{suffix}.yaml", opts),
    )


def config_extra(bundle: PolicyBundle) -> dict[str, Any]:
    """The part of `extra` that lets a checkpoint stand on its own."""
    return {"experiment": to_dict(bundle.experiment), "network": to_dict(bundle.network)}


def write_config(path: Path, values: Mapping[str, Any]) -> None:
    """Write a yaml file atomically."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(yaml.safe_dump(dict(values), sort_keys=False))
    os.replace(partial, path)


def _is_state(content: Mapping[str, Any]) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())
