"""What the two stages of SAM2Act's training ask of their configuration.

Stage 1 trains all but the memory, stage 2 the memory and what it needs to be read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.wording import uneven_windows
from sam2act.nn.attention import xformers_attention
from sam2act.nn.lora import adapter_parameters, adapters
from sam2act.policies.base import AssumedConfigs
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.sam2act.published_weights import MEMORY_TABLE
from sam2act.processing.color_jitter import torchvision_functional

LOGGER = logging.getLogger(__name__)

# Keys of the network config that may differ from those of the run that is continued.
MAY_CHANGE = (
    "sam2_ckpt",  # the place of a file
    # The same function computed otherwise, up to rounding.
    *("activation_checkpointing", "memory_checkpointing", "attention_backend", "xops"),
    *("renderer.backend", "channels_last"),
    *("decoder_dropout", "final_dim"),  # nothing reads them
)
# Those that may also differ between the two stages.
MAY_CHANGE_IN_STAGE_TWO = (
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
    if experiment.bs < 2:
        raise ConfigError(
            f"bs: {experiment.bs} cannot train, because BatchNorm in the action head needs at "
            "least two samples per process; use bs 2 with peract.grad_accumulation for large images"
        )
    if stage == 1:
        _check_first(experiment, network)
    else:
        _check_second(experiment, network)


def _check_first(experiment: ExperimentConfig, network: NetworkConfig) -> None:
    if network.use_memory:
        raise ConfigError("use_memory: True is for train_plus.py; train.py trains without memory")
    if experiment.peract.same_trans_aug_per_seq:
        raise ConfigError(
            "peract.same_trans_aug_per_seq: True is for windows of keyframes (train_plus.py); "
            "train.py draws independent samples"
        )
    if experiment.peract.cache_frozen_features:
        raise ConfigError("peract.cache_frozen_features: True is for train_plus.py")


def _check_second(experiment: ExperimentConfig, network: NetworkConfig) -> None:
    window = network.window
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


def check_available(
    experiment: ExperimentConfig, network: NetworkConfig, device: torch.device
) -> None:
    """Make sure that the packages and the device that options need are there.

    Raises:
        ConfigError: they are not.
    """
    if network.attention_backend == "xformers":
        xformers_attention()
        if device.type != "cuda":
            raise ConfigError(
                "attention_backend: xformers runs on CUDA devices only; set attention_backend: sdpa"
            )
    if experiment.peract.color_jitter:
        torchvision_functional()


def assumed_configs(stage: int, state: Mapping[str, Tensor]) -> AssumedConfigs:
    """The published configurations of a stage, for a released file, which tells none.

    Of the file itself only the number of remembered keyframes can be seen.
    """
    preset = "sam2act_plus" if stage == 2 else "sam2act"
    table = state.get(MEMORY_TABLE)
    opts = "" if table is None else f"num_maskmem {len(table)}"
    return AssumedConfigs(f"configs/{preset}.yaml", f"configs/mvt/{preset}.yaml", opts)


def tell_substitutes(network: NetworkConfig) -> None:
    """Log which released options something else serves."""
    if network.xops and network.attention_backend == "sdpa":
        LOGGER.info("xops: True is served by scaled_dot_product_attention, which computes the same")


def nothing_of_adapters(encoders: nn.Module) -> Tensor:
    """Zero, which gives adapters that are not computed (`peract.skip_dead_lora`) the gradient zero.

    Their down projections have that gradient anyway, and must decay like everything else.
    """
    return 0 * torch.stack([p.sum() for p in adapter_parameters(encoders)]).sum()


def check_dead_lora(encoders: nn.Module) -> None:
    """Raise `ConfigError` if `peract.skip_dead_lora` would leave out adapters that act."""
    found = adapters(encoders)
    if not found:
        raise ConfigError(
            "peract.skip_dead_lora: True is for encoders with LoRA adapters, and this network "
            "has none; set it to False, or encoder_trainable to lora"
        )
    if any(adapter.moved for adapter in found):
        raise ConfigError(
            "peract.skip_dead_lora: True needs LoRA up projections that are zero, but those of "
            "this checkpoint have been trained; set it to False"
        )


def published_samples(network: NetworkConfig) -> int:
    """Samples per update of the published run: 256, in stage 2 one window per process."""
    window = network.window
    rows = window if window in PUBLISHED_WINDOWS else PUBLISHED_WINDOWS[-1]
    return PUBLISHED_PROCESSES * (rows if network.use_memory else PUBLISHED_ROWS)
