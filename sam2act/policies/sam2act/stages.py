"""What the two stages of SAM2Act's training ask of their configuration.

Stage 1 trains all but the memory, stage 2 the memory and what it needs to be read.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.wording import uneven_windows
from sam2act.policies.base import AssumedConfigs
from sam2act.policies.diffusion_chunks import SAMPLER_KEYS
from sam2act.policies.multiview import stages
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.sam2act.published_weights import MEMORY_TABLE

# Keys of the network config that may differ from those of the run that is continued.
MAY_CHANGE = (
    *(*stages.MAY_CHANGE, "memory_checkpointing"),
    *(f"chunk.{key}" for key in SAMPLER_KEYS),
)
# Those that may also differ between the two stages.
MAY_CHANGE_IN_STAGE_TWO = (
    *("auxiliary", "auxiliary_weight"),  # of stage 1
    *("use_memory", "num_maskmem", "memory_*", "frozen_eval", "stage_two_freeze_skip_convs"),
    *("attn_dropout", "wpt_img_aug", "st_wpt_loc_*", "img_aug_2", "data.points"),  # noise
    *("heatmap_half", "target_projection", "skip_convs", "lora_finetune", "encoder_trainable"),
)
PUBLISHED_PROCESSES, PUBLISHED_ROWS = 32, 8  # rows: of stage 1; one window in stage 2
PUBLISHED_WINDOWS = (8, 10)  # keyframes: the first version of reopen_drawer, all others


def check_stage(stage: int, experiment: ExperimentConfig, network: NetworkConfig) -> None:
    """Make sure that the configurations fit stage 1 (train.py) or 2 (train_plus.py).

    Raises:
        ConfigError: they do not.
    """
    stages.check_batch(experiment)
    if stage == 1:
        _check_first(experiment, network)
    else:
        _check_second(experiment, network)


def _check_first(experiment: ExperimentConfig, network: NetworkConfig) -> None:
    if network.foresees and experiment.transforms:
        raise ConfigError(
            f"auxiliary: {network.auxiliary} sees the next keyframe as it was recorded; leave out "
            f"transforms [{', '.join(experiment.transforms)}]"
        )
    if network.use_memory:
        raise ConfigError("use_memory: True is for train_plus.py; train.py trains without memory")
    stages.check_independent_samples(experiment)
    if network.gives_chunks:
        _check_chunks(experiment, network)


def _check_chunks(experiment: ExperimentConfig, network: NetworkConfig) -> None:
    """Make sure that nothing is asked for that recorded actions cannot follow."""
    optimisation = experiment.peract
    if not optimisation.transform_augmentation:
        return
    turned = any(optimisation.transform_augmentation_rpy)
    shifted = any(optimisation.transform_augmentation_xyz)
    if turned or (shifted and network.chunk.control != "ee_delta"):
        raise ConfigError(
            "peract.transform_augmentation: True moves the scene, and actions of control "
            f"{network.chunk.control} would have to move with it; with action_head: "
            "diffusion_chunk only chunk.control ee_delta may be shifted, nothing turned: set "
            "transform_augmentation False, or transform_augmentation_rpy [0,0,0]"
        )


def _check_second(experiment: ExperimentConfig, network: NetworkConfig) -> None:
    window = network.window
    if network.gives_chunks:
        raise ConfigError("action_head: diffusion_chunk has no second stage; use train.py")
    if not network.use_memory:
        raise ConfigError(
            "train_plus.py needs use_memory: True; "
            "pass --mvt_cfg_path configs/mvt/sam2act_plus.yaml"
        )
    if experiment.sample_distribution_mode != "demo_uniform_temporal":
        raise ConfigError(
            "train_plus.py needs sample_distribution_mode: demo_uniform_temporal, which draws "
            "windows of consecutive keyframes"
        )
    if experiment.peract.skip_dead_lora:
        raise ConfigError(
            "peract.skip_dead_lora: True is for train.py; train_plus.py trains no adapters"
        )
    if experiment.bs % window:
        raise ConfigError(
            f"{uneven_windows(experiment.bs, window)}; configs/tasks/ has the values of each task"
        )


def assumed_configs(stage: int, state: Mapping[str, Tensor]) -> AssumedConfigs:
    """The published configurations of a stage, for a released file, which tells none.

    Of the file itself only the number of remembered keyframes can be seen.
    """
    preset = "sam2act_plus" if stage == 2 else "sam2act"
    table = state.get(MEMORY_TABLE)
    opts = "" if table is None else f"num_maskmem {len(table)}"
    return AssumedConfigs(f"configs/{preset}.yaml", f"configs/mvt/{preset}.yaml", opts)


def published_samples(network: NetworkConfig) -> int:
    """Samples per update of the published run: 256, in stage 2 one window per process."""
    window = network.window
    rows = window if window in PUBLISHED_WINDOWS else PUBLISHED_WINDOWS[-1]
    return PUBLISHED_PROCESSES * (rows if network.use_memory else PUBLISHED_ROWS)
