"""What a SAM2Act policy wants and gives."""

from __future__ import annotations

import dataclasses

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.specs import PolicySpec
from sam2act.policies.multiview import settings
from sam2act.policies.multiview.settings import PolicySettings, check_compatible
from sam2act.policies.sam2act.config import NetworkConfig

__all__ = ["PolicySettings", "check_compatible", "policy_spec"]


def policy_spec(experiment: ExperimentConfig, network: NetworkConfig) -> PolicySpec:
    """What a policy of these configurations wants and gives, with the keyframes it remembers."""
    return dataclasses.replace(
        settings.policy_spec(experiment, network),
        past_keyframes=network.num_maskmem if network.use_memory else 0,
        keyframe_window=network.window,
        next_keyframe=network.foresees,
    )
