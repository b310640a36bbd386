"""Weights of an earlier stage, of MAR or of the autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from sam2act.core.errors import ConfigError
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import LoadReport, misfit, mismatch, unwrapped
from sam2act.core.weights import find_weights
from sam2act.policies.uva.released_files import STATES, released_state

MODEL = "model."
FREE = "vae_weights empty"


def load_matching(policy: nn.Module, named: str) -> LoadReport:
    """Take the tensors of a file whose name and shape are those of the policy.

    The file may be a checkpoint of this project (averaged weights come first), a released
    checkpoint of UVA (likewise), or one of MAR.

    Args:
        policy: gets them.
        named: as the key pretrained_model_path names it.

    Raises:
        ConfigError: the file is absent or no file of weights, or nothing in it fits.
    """
    path = find_weights("pretrained_model_path", named, "leave it empty to start from nothing")
    own, report = policy.state_dict(), LoadReport()
    found = _model_names(_weights(str(path)), own)
    taken: dict[str, Tensor] = {}
    for name, value in found.items():
        if name not in own:
            report.unexpected.append(name)
        elif mismatch(name, value, own[name]):
            report.mismatched.append(name)
        else:
            taken[name] = value
            report.loaded.append(name)
    if not taken:
        raise ConfigError(
            f"pretrained_model_path: {path} holds no tensor that fits the policy by name and "
            "shape; check autoregressive_model, or name another file"
        )
    report.fresh = [name for name in own if name not in taken]
    policy.load_state_dict(taken, strict=False)
    return report


def load_autoencoder(policy: nn.Module, named: str) -> None:
    """Replace all weights of the autoencoder by those of a file.

    Raises:
        ConfigError: the file is absent, no file of weights, or one of another autoencoder.
    """
    path = find_weights("vae_weights", named, f"leave {FREE}")
    state = _weights(str(path))
    inside = {n.removeprefix("vae_model."): v for n, v in state.items() if "vae_model." in n}
    autoencoder = policy.get_submodule("vae_model")
    own = autoencoder.state_dict()
    state = _in_diffusers_names(inside or state, own)
    complaint = misfit(state, own)
    if complaint:
        raise ConfigError(f"vae_weights: {path} does not fit: {complaint}")
    autoencoder.load_state_dict(state)


def _in_diffusers_names(state: Mapping[str, Any], own: Mapping[str, Tensor]) -> dict[str, Any]:
    """Weights of the published autoencoder, in its own names or those of diffusers, as the policy
    names them."""
    if "network.quant_conv.weight" not in own:
        return dict(state)
    if any(name.startswith("encoder.down.") for name in state):
        blocks = {"down_block_types": [""] * 5, "up_block_types": [""] * 5}
        forms: Any = import_module("diffusers.loaders.single_file_utils")
        state = forms.convert_ldm_vae_checkpoint(dict(state), blocks)
    named = {f"network.{n.removeprefix('network.')}": v for n, v in state.items() if n != "scale"}
    return named | {"scale": own["scale"]}


def _weights(path: str) -> dict[str, Any]:
    """The tensors of a file by name; averaged ones where it has them."""
    try:
        content = read_weight_file(path, objects=True)
    except WeightFileError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: expected tensors by name, got {type(content).__name__}")
    if isinstance(content.get(STATES), Mapping):
        return released_state(content, path)
    for entry in ("model_ema", "model_state", "model", "state_dict"):
        if isinstance(content.get(entry), Mapping):
            average = ((content.get("extra") or {}).get("average") or {}).get("average") or {}
            return unwrapped({**content[entry], **average})
    return unwrapped(content)


def _model_names(state: Mapping[str, Any], own: Mapping[str, Tensor]) -> dict[str, Any]:
    """`state` with the names of the policy: those of MAR lack its part `model.`."""
    if any(name in own for name in state):
        return dict(state)
    return {MODEL + name: value for name, value in state.items()}
