"""A trained policy as a checkpoint of CogACT's own form, which `load_vla` reads."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

from sam2act.core.errors import ConfigError
from sam2act.nn.diffusion.dit import DiTConfig
from sam2act.policies.checkpoint import (
    PolicyBundle,
    build_policy,
    load_average,
    load_transforms,
    read_checkpoint,
    stored_configs,
)
from sam2act.policies.cogact.dataset_statistics import Statistics
from sam2act.policies.cogact.policy import CogACTPolicy
from sam2act.policies.cogact.prismatic import PromptTokens
from sam2act.policies.cogact.prismatic_backbone import PrismaticBackbone
from sam2act.policies.cogact.released_files import save_vla
from sam2act.policies.cogact.vla import CogACT
from sam2act.processing.statistics import NormaliseActions


def export_vla(checkpoint: str | Path, output: str | Path, *, name: str) -> None:
    """Write the policy of a training as CogACT writes it.

    Args:
        checkpoint: `model_<...>.pth` of a run with `backbone: prismatic`.
        output: `<run>/checkpoints/<file>.pt`; the two files of the run are written beside it.
        name: of the data set, the `unnorm_key` of its statistics.

    Raises:
        CheckpointError, WeightsError: the checkpoint cannot be read.
        ConfigError: it is of another policy, or knows no quantiles of actions.
    """
    content = read_checkpoint(checkpoint)
    bundle = build_policy(*stored_configs(Path(checkpoint), content))
    policy = bundle.policy
    if not isinstance(policy, CogACTPolicy) or not isinstance(policy.backbone, PrismaticBackbone):
        raise ConfigError(f"{checkpoint}: only policy: cogact with backbone: prismatic is exported")
    policy.weight_adapter.load(content["model_state"])
    load_transforms(bundle, content, checkpoint)
    vlm = policy.backbone.vlm
    tokenizer = bundle.experiment.language.weights_path or vlm.config.tokenizer
    vlm.config = dataclasses.replace(vlm.config, tokenizer=str(tokenizer))
    head = DiTConfig(**{key: getattr(policy.config, key) for key in DiTConfig.__dataclass_fields__})
    statistics: Statistics = {name: _statistics(bundle, checkpoint)}
    model = CogACT(vlm, head, statistics, PromptTokens(vlm.config))
    model.action_model.load_state_dict(policy.action_model.state_dict())
    average = content.get("extra", {}).get("average")
    if average is not None:
        load_average(bundle, average["average"], checkpoint)
        model.ema_diffusion = copy.deepcopy(policy.action_model)
    save_vla(model, Path(output))


def _statistics(bundle: PolicyBundle, checkpoint: str | Path) -> dict[str, object]:
    """The entry of `dataset_statistics.json` for the transform that scaled the actions."""
    scales = [step for step in bundle.transforms.steps if isinstance(step, NormaliseActions)]
    if not scales or scales[0].scaling.mode != "quantile":
        raise ConfigError(
            f"{checkpoint}: CogACT's files hold quantiles of actions; train with "
            "transforms [\"normalise_actions('quantile')\"]"
        )
    state, kept = scales[0].state_dict(), scales[0].scaling.kept
    low, high = state["shift"] - state["scale"], state["shift"] + state["scale"]
    rows = {"q01": low, "q99": high, "mask": ~kept}
    return {"action": {key: row.tolist() for key, row in rows.items()}}
