"""What the first stage of training asks of its configuration, and what adapters must satisfy."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.nn.attention import xformers_attention
from sam2act.nn.lora import adapter_parameters, adapters
from sam2act.policies.multiview.config import MultiviewConfig
from sam2act.processing.color_jitter import torchvision_functional

LOGGER = logging.getLogger(__name__)

# Keys of the network config that may differ from those of the run that is continued.
MAY_CHANGE = (
    *("sam2_ckpt", "encoder_ckpt"),  # places of files
    # The same function computed otherwise, up to rounding.
    *("activation_checkpointing", "attention_backend", "xops"),
    *("renderer.backend", "channels_last"),
    *("decoder_dropout", "final_dim"),  # nothing reads them
)


def check_batch(experiment: ExperimentConfig) -> None:
    """Raise `ConfigError` if the batch is too small for the action head."""
    if experiment.bs < 2:
        raise ConfigError(
            f"bs: {experiment.bs} cannot train, because BatchNorm in the action head needs at "
            "least two samples per process; use bs 2 with peract.grad_accumulation for large images"
        )


def check_independent_samples(experiment: ExperimentConfig) -> None:
    """Make sure that nothing is asked for that needs windows of consecutive keyframes.

    Raises:
        ConfigError: something is.
    """
    if experiment.peract.same_trans_aug_per_seq:
        raise ConfigError(
            "peract.same_trans_aug_per_seq: True is for windows of keyframes (train_plus.py); "
            "train.py draws independent samples"
        )
    if experiment.peract.cache_frozen_features:
        raise ConfigError("peract.cache_frozen_features: True is for train_plus.py")


def check_available(
    experiment: ExperimentConfig, network: MultiviewConfig, device: torch.device
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


def tell_substitutes(network: MultiviewConfig) -> None:
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
