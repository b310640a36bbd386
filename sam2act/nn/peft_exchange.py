"""Exchange of the LoRA weights in the file format of peft: `adapter_config.json` and
`adapter_model.safetensors`.

peft's own LoRA layer adapts queries, keys and values of a fused projection together, with one
shared down projection, and cannot express ours (paper section IV-B, quirk N5). The tensors are
therefore those of a *custom layer* on `qkv` with the adapter parts `lora_A_q`, `lora_B_q`,
`lora_A_v` and `lora_B_v`; module paths are those of SAM 2, `image_encoder.trunk.blocks.0.attn.qkv`.
To use such a file with peft itself, register a layer with these parts
(`LoraConfig._register_custom_module`). Without one peft reads the configuration, finds none of its
own tensors and adapts nothing. Neither direction needs peft to be installed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam2act.core.errors import UserError
from sam2act.core.files import replacing
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import WeightsError, misfit, require_finite
from sam2act.nn.lora import LoRAQKV

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model.image_encoder."
TARGET_MODULES = r".*\.attn\.qkv"
PARTS = {
    "linear_a_q": "lora_A_q",
    "linear_b_q": "lora_B_q",
    "linear_a_v": "lora_A_v",
    "linear_b_v": "lora_B_v",
}


class AdapterError(UserError):
    """Adapter files are absent, malformed or made for another network; the message says which."""


def adapter_state(network: nn.Module) -> dict[str, nn.Parameter]:
    """The LoRA matrices of `network` by their names in peft's layout, sharing storage.

    Args:
        network: a `TwoStageNetwork` with adapters.

    Raises:
        AdapterError: the network has no adapters.
    """
    encoder = network.get_submodule("encoders.0")
    state = {
        f"{PREFIX}{path}.{name}.weight": layer.get_parameter(f"{part}.weight")
        for path, layer in encoder.named_modules()
        if isinstance(layer, LoRAQKV)
        for part, name in PARTS.items()
    }
    if not state:
        raise AdapterError("this network has no LoRA adapters; set encoder_trainable: lora")
    return state


def adapter_config(rank: int) -> dict[str, Any]:
    """What peft's `LoraConfig` needs; the update has no factor, so alpha equals the rank."""
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": "sam2.1_hiera_base_plus",
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": TARGET_MODULES,
    }


def export_adapter(network: nn.Module, folder: str | Path) -> None:
    """Write the LoRA weights of `network` into `folder`; each file atomically.

    Raises:
        AdapterError: the network has no adapters.
    """
    from safetensors.torch import save_file

    state = adapter_state(network)
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    folder = Path(folder)
    with replacing(folder / WEIGHTS_FILE) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})
    text = json.dumps(adapter_config(_rank(state)), indent=2)
    with replacing(folder / CONFIG_FILE) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


@torch.no_grad()
def import_adapter(network: nn.Module, folder: str | Path) -> list[str]:
    """Replace the LoRA weights of `network` by those in `folder`; all of them or none.

    A file whose alpha differs from its rank has a factor, which goes into the up projections.

    Returns:
        the names of the tensors read.

    Raises:
        AdapterError: files absent or malformed, or tensors missing, unexpected or misshapen.
    """
    own = adapter_state(network)
    folder = Path(folder)
    config = _read_config(folder / CONFIG_FILE)
    stored = _read_weights(folder / WEIGHTS_FILE)
    complaints = [complaint] if (complaint := misfit(stored, own)) else []
    if int(config["r"]) != _rank(own):
        complaints.append(f"rank {config['r']}, the network has lora_r {_rank(own)}")
    if complaints:
        raise AdapterError(f"the adapter in {folder} does not fit: {'; '.join(complaints)}")
    factor = _factor(config)
    for name, value in own.items():
        value.copy_(stored[name] * (factor if ".lora_B_" in name else 1.0))
    return list(stored)


def _rank(state: Mapping[str, Tensor]) -> int:
    return next(len(value) for name, value in state.items() if ".lora_A_" in name)


def _factor(config: Mapping[str, Any]) -> float:
    rank = int(config["r"])
    alpha = float(config.get("lora_alpha", rank))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AdapterError(f"no adapter configuration {path}") from error
    except ValueError as error:
        raise AdapterError(f"{path} is not valid json: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or "r" not in config:
        raise AdapterError(f"{path} does not describe a LoRA adapter (peft_type LORA with r)")
    return config


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise AdapterError(f"no adapter weights {path}")
    try:
        state: dict[str, Tensor] = read_weight_file(path)
        require_finite(state)
    except (WeightFileError, WeightsError) as error:
        raise AdapterError(f"adapter weights {path} cannot be read: {error}") from error
    return state
