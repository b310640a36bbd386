"""Run folders of CogACT: `config.json`, `dataset_statistics.json` and `checkpoints/<file>.pt`.

A checkpoint is `{"model": {"vision_backbone", "projector", "llm_backbone", "action_model"
[, "ema_diffusion"]}}`. Tensors are loaded strictly by name; the file is mapped into memory and each
tensor goes straight to the type that is asked for.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing
from sam2act.core.weight_files import WeightFileError, read_weight_file
from sam2act.core.weight_names import misfit
from sam2act.nn.diffusion.dit import SIZES, DiTConfig
from sam2act.policies.cogact.dataset_statistics import (
    FILE_NAME,
    read_statistics,
    write_statistics,
)
from sam2act.policies.cogact.prismatic import PrismaticConfig, PrismaticVLM, PromptTokens
from sam2act.policies.cogact.vla import CogACT

CONFIG_NAME, CHECKPOINTS = "config.json", "checkpoints"
OWN_ENTRY = "sam2act"  # of config.json: sizes that differ from the published ones
BASE_VLM = "prism-dinosiglip-224px+7b"
VLM_PARTS = ("vision_backbone", "projector", "llm_backbone")
HEAD, AVERAGE = "action_model", "ema_diffusion"
HEAD_PREFIX = "net."
NOT_WEIGHTS = ".rotary_emb.inv_freq"  # ends of names that old versions of transformers wrote


def load_vla(
    model_id_or_path: str | Path,
    hf_token: str | None = None,
    cache_dir: str | Path | None = None,
    load_for_training: bool = False,
    **options: Any,
) -> CogACT:
    """A model from its checkpoint.

    Args:
        model_id_or_path: `<run>/checkpoints/<file>.pt`, or an id of the Hugging Face hub.
        hf_token: access token of the hub.
        cache_dir: where files of the hub are kept.
        load_for_training: everything may be trained, and a checkpoint without a head gets a fresh
            one.
        options: see `ModelOptions`.

    Raises:
        ConfigError: the path breaks the rule, a file is absent or does not fit; the message names
            it and the tensors.
    """
    chosen = _options(options)
    path = Path(model_id_or_path)
    if path.suffix != ".pt" and not path.exists():
        path = _from_hub(str(model_id_or_path), hf_token, cache_dir)
    run = run_folder(path)
    sizes = _sizes(run / CONFIG_NAME)
    statistics = read_statistics(run / FILE_NAME)
    weights = read_parts(path)
    with torch.device("meta"):
        vlm = PrismaticVLM(sizes)
        tokens = PromptTokens(sizes, hf_token, cache_dir)
        model = CogACT(vlm, chosen.head(), statistics, tokens, use_ema=chosen.use_ema)
    for name in VLM_PARTS:
        assign(getattr(vlm, name), weights[name], f"{path}: {name}", chosen.vlm_dtype)
    vlm.restore_tables()
    _load_heads(model, weights, path, load_for_training)
    model.requires_grad_(load_for_training)
    return model.train(load_for_training)


def save_vla(model: CogACT, path: Path) -> None:
    """Write a checkpoint and, beside its folder, the two files that belong to it.

    Raises:
        ConfigError: the path is not `<run>/checkpoints/<file>.pt`.
        OSError: a file cannot be written.
    """
    run = _run_of(path)
    weights: dict[str, Any] = {name: getattr(model.vlm, name).state_dict() for name in VLM_PARTS}
    for name, head in ((HEAD, model.action_model), (AVERAGE, model.ema_diffusion)):
        if head is not None:
            weights[name] = {HEAD_PREFIX + key: value for key, value in head.state_dict().items()}
    changed = _differences(model.vlm.config)
    content: dict[str, Any] = {"vla": {"base_vlm": BASE_VLM}}
    if (run / CONFIG_NAME).is_file():
        content = _read_json(run / CONFIG_NAME)
    if changed:
        content[OWN_ENTRY] = changed
    with replacing(run / CONFIG_NAME) as draft:
        draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_statistics(run / FILE_NAME, model.norm_stats)
    with replacing(path) as draft:
        torch.save({"model": weights}, draft)


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """What `load_vla` takes beside the path; the first six are published."""

    action_model_type: str = "DiT-B"  # DiT-S | DiT-B | DiT-L | custom
    future_action_window_size: int = 15
    past_action_window_size: int = 0  # nothing else is possible
    action_dim: int = 7
    token_size: int = 4096  # width of the cognition feature
    use_ema: bool = False  # act with the moving average of the head
    vlm_dtype: torch.dtype = torch.float32
    dit_depth: int = 2  # of a `custom` head
    dit_width: int = 32
    dit_heads: int = 4

    def __post_init__(self) -> None:
        if self.past_action_window_size != 0:
            raise ConfigError(
                f"past_action_window_size: {self.past_action_window_size}, but the head has no use "
                "for past actions; leave it at 0"
            )
        if not self.vlm_dtype.is_floating_point:
            raise ConfigError(f"vlm_dtype: {self.vlm_dtype} is no floating type; use bfloat16")

    def head(self) -> DiTConfig:
        """The keys of the head."""
        names = {field.name for field in dataclasses.fields(DiTConfig)}
        shared = {name: value for name, value in vars(self).items() if name in names}
        return DiTConfig(**shared, condition_dim=self.token_size)


def run_folder(path: Path) -> Path:
    """The run folder of a checkpoint that exists.

    Raises:
        ConfigError: the path is not `<run>/checkpoints/<file>.pt`, or there is no such file.
    """
    run = _run_of(path)
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; name the checkpoint of a run folder")
    return run


def _run_of(path: Path) -> Path:
    if path.suffix != ".pt" or path.absolute().parent.name != CHECKPOINTS:
        raise ConfigError(
            f"{path} is not of the form <run>/{CHECKPOINTS}/<file>.pt; {CONFIG_NAME} and "
            f"{FILE_NAME} are looked for in <run>"
        )
    return path.absolute().parents[1]


def _options(values: Mapping[str, Any]) -> ModelOptions:
    known = [field.name for field in dataclasses.fields(ModelOptions)]
    for name in values:
        if name not in known:
            raise ConfigError(f"load_vla: {name} is no option; known are {', '.join(known)}")
    if values.get("action_model_type", "custom") not in (*SIZES, "custom"):
        kinds = ", ".join((*SIZES, "custom"))
        raise ConfigError(f"action_model_type: {values['action_model_type']!r} is none of {kinds}")
    return ModelOptions(**values)


def _from_hub(name: str, token: str | None, cache_dir: str | Path | None) -> Path:
    """The checkpoint of a repository of the hub, fetched with the two files of its run."""
    try:
        from huggingface_hub import HfApi, hf_hub_download
    except ImportError as error:
        raise ConfigError(
            f"{name} is no file; for an id of the hub install huggingface_hub (extra `vla`)"
        ) from error
    try:
        names = HfApi(token=token).list_repo_files(name)
        found = sorted(x for x in names if x.startswith(f"{CHECKPOINTS}/") and x.endswith(".pt"))
        if not found:
            raise ConfigError(f"{name}: no {CHECKPOINTS}/<file>.pt in this repository of the hub")
        wanted = (CONFIG_NAME, FILE_NAME, found[-1])
        paths = [hf_hub_download(name, x, token=token, cache_dir=cache_dir) for x in wanted]
    except ConfigError:
        raise
    except Exception as error:  # the hub's client raises many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{name} is no file, and the hub does not give it ({reason}); check the path, the id "
            "and hf_token"
        ) from error
    return Path(paths[-1])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; it belongs to the run folder") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no readable JSON file; get it again") from error
    if not isinstance(content, dict) or not isinstance(content.get("vla"), dict):
        raise ConfigError(f"{path}: expected an entry `vla`; is it the config.json of CogACT?")
    return content


def _sizes(path: Path) -> PrismaticConfig:
    """The sizes that `config.json` names: those of its `base_vlm`, with what we note of others."""
    content = _read_json(path)
    base = content["vla"].get("base_vlm", BASE_VLM)
    if BASE_VLM not in str(base):
        raise ConfigError(f"{path}: base_vlm: {base} is unknown; known is {BASE_VLM}")
    own = content.get(OWN_ENTRY, {})
    known = {field.name for field in dataclasses.fields(PrismaticConfig)}
    unknown = sorted(set(own) - known)
    if unknown:
        raise ConfigError(f"{path}: {OWN_ENTRY}: {unknown[0]} is unknown")
    return PrismaticConfig(**own)


def _differences(config: PrismaticConfig) -> dict[str, Any]:
    usual = vars(PrismaticConfig())
    return {name: value for name, value in vars(config).items() if value != usual[name]}


def read_parts(path: Path) -> dict[str, dict[str, Tensor]]:
    """The parts of a checkpoint by name, mapped into memory.

    Raises:
        ConfigError: it is no checkpoint of CogACT or of a Prismatic model.
    """
    try:
        content = read_weight_file(path, mapped=True)
    except WeightFileError as error:
        raise ConfigError(str(error)) from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not all(isinstance(x, dict) for x in model.values()):
        raise ConfigError(f"{path}: expected an entry `model` with parts; is it of CogACT?")
    for name in VLM_PARTS:
        if name not in model:
            raise ConfigError(f"{path}: the part {name} is missing")
    return model


def _load_heads(
    model: CogACT, weights: dict[str, dict[str, Tensor]], path: Path, fresh: bool
) -> None:
    if HEAD in weights:
        assign_head(model.action_model, weights[HEAD], f"{path}: {HEAD}")
    elif fresh:
        model.action_model.to_empty(device="cpu")
        model.action_model.reset_parameters()
    else:
        raise ConfigError(
            f"{path} has no {HEAD}: it is a vision-language model without a head; load it with "
            "load_for_training=True"
        )
    if AVERAGE in weights:
        model.ema_diffusion = copy.deepcopy(model.action_model)
        assign_head(model.ema_diffusion, weights[AVERAGE], f"{path}: {AVERAGE}")
    elif model.use_ema:
        model.ema_diffusion = copy.deepcopy(model.action_model)  # as published


def assign_head(head: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """As `assign`, for the head, in float32.

    Raises:
        ConfigError: see `assign`.
    """
    for name in state:
        if not name.startswith(HEAD_PREFIX):
            raise ConfigError(f"{source}: the name {name} does not begin with {HEAD_PREFIX}")
    plain = {name.removeprefix(HEAD_PREFIX): value for name, value in state.items()}
    assign(head, plain, source, torch.float32)


def assign(module: nn.Module, state: Mapping[str, Tensor], source: str, dtype: torch.dtype) -> None:
    """Make the tensors of a file the parameters of `module`, one after the other.

    Raises:
        ConfigError: they do not fit; `source` is named.
    """
    kept = {name: value for name, value in state.items() if not name.endswith(NOT_WEIGHTS)}
    complaint = misfit(kept, module.state_dict())
    if complaint:
        raise ConfigError(f"{source} does not fit; is it another size? {complaint}")
    module.load_state_dict({name: x.to(dtype) for name, x in kept.items()}, assign=True)
