"""What stands before and behind the policy: renaming, a batch axis, the device. No normalisation:
the policy takes pictures and metres, and `transforms` of sam2act belong to the policy itself."""

from __future__ import annotations

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    PolicyProcessorPipeline,
    RenameObservationsProcessorStep,
)
from lerobot.processor.converters import (
    policy_action_to_transition,
    transition_to_policy_action,
)

from lerobot_policy_sam2act.configuration_sam2act import SAM2ActConfig
from sam2act.policies.hub_folder import POSTPROCESSOR, PREPROCESSOR


def make_sam2act_pre_post_processors(
    config: SAM2ActConfig, dataset_stats: Any = None
) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
    """The steps before and behind the policy; statistics of the data set are not used."""
    before = PolicyProcessorPipeline(
        steps=[
            RenameObservationsProcessorStep(rename_map={}),
            AddBatchDimensionProcessorStep(),
            DeviceProcessorStep(device=str(config.device)),
        ],
        name=PREPROCESSOR,
    )
    behind = PolicyProcessorPipeline(
        steps=[DeviceProcessorStep(device="cpu")],
        name=POSTPROCESSOR,
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return before, behind
