"""A policy as a folder of a model hub: weights, configuration, a card; read back as a checkpoint.

    model.safetensors           weights under the names of checkpoints, statistics of transforms
    config.json                 LeRobot's keys of a policy, and our two configurations
    policy_preprocessor.json    LeRobot's steps around the policy; they only rename and move tensors
    policy_postprocessor.json
    README.md                   the card

LeRobot loads such a folder with the distribution `lerobot_policy_sam2act`, this package with
`load_policy(folder)` or `load_policy(folder / "model.safetensors")`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sam2act.config.load import to_dict
from sam2act.core.errors import UserError
from sam2act.core.files import replacing
from sam2act.core.weight_files import write_safetensors

if TYPE_CHECKING:
    from sam2act.policies.checkpoint import PolicyBundle

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor", "policy_postprocessor"  # .json
LEROBOT_TYPE = "sam2act"
OURS = ("experiment", "network", "stage", "step", "transforms")  # keys of config.json
STATISTICS = "transforms."  # how names of statistics in the file of weights begin


class HubFolderError(UserError):
    """A folder holds no policy of this project; the message names the file and the remedy."""


def write_hub_folder(folder: Path, bundle: PolicyBundle, card: str) -> None:
    """Write all files; each replaces what was there when it is complete.

    Args:
        folder: where to; it is made where there is none.
        bundle: the policy.
        card: text of README.md.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_hub_weights(folder, bundle)
    _write_json(folder / CONFIG, hub_config(bundle))
    for name, content in processors().items():
        _write_json(folder / f"{name}.json", content)
    with replacing(folder / CARD) as partial:
        partial.write_text(card, encoding="utf-8")


def write_hub_weights(folder: Path, bundle: PolicyBundle) -> None:
    """Write the file of weights alone."""
    write_safetensors(folder / WEIGHTS, bundle.model_state() | _statistics(bundle))


def hub_config(bundle: PolicyBundle) -> dict[str, Any]:
    """The content of config.json."""
    return {
        "type": LEROBOT_TYPE,
        "n_obs_steps": 1,
        "input_features": input_features(bundle),
        "output_features": {"action": _feature("ACTION", bundle.transforms.spec.action.size)},
        "push_to_hub": False,
        "experiment": to_dict(bundle.experiment),
        "network": to_dict(bundle.network),
        "stage": bundle.stage,
        "step": bundle.step,
        "transforms": list(bundle.transforms.texts),
    }


def input_features(bundle: PolicyBundle) -> dict[str, Any]:
    """The images that the policy takes, under LeRobot's names."""
    spec = bundle.transforms.spec.sized(bundle.experiment.image_size)
    return {
        f"observation.images.{camera.name}": _feature("VISUAL", 3, camera.height, camera.width)
        for camera in spec.camera_specs
    }


def processors() -> dict[str, dict[str, Any]]:
    """LeRobot's descriptions of what stands before and behind the policy, by name."""
    rename = _step("rename_observations_processor", rename_map={})
    batch = _step("to_batch_processor")
    before = _step("device_processor", device="cpu", float_dtype=None)
    return {
        PREPROCESSOR: {"name": PREPROCESSOR, "steps": [rename, batch, before]},
        POSTPROCESSOR: {"name": POSTPROCESSOR, "steps": [before]},
    }


def with_hub_config(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint, read from `path`, with what the config.json beside it says.

    A file of another name, or without such a config, stays what it is.

    Raises:
        HubFolderError: the config is damaged, or of another policy.
    """
    file = path.with_name(CONFIG)
    if path.name != WEIGHTS or not file.is_file():
        return dict(content)
    config = read_hub_config(file)
    if config.get("type") != LEROBOT_TYPE:
        raise HubFolderError(
            f"{file}: its policy is of type {config.get('type')!r}, not {LEROBOT_TYPE!r}; name a "
            "folder that `sam2act export` or LeRobot's training of sam2act wrote"
        )
    missing = [key for key in OURS if key not in config]
    if missing:
        raise HubFolderError(f"{file}: {', '.join(missing)} missing; export the policy again")
    state = content["model_state"]
    extra = {key: config[key] for key in ("experiment", "network", "stage", "step")}
    if config["transforms"]:
        extra["transforms"] = _transforms(config["transforms"], state)
    weights = {name: value for name, value in state.items() if not name.startswith(STATISTICS)}
    return {"model_state": weights, "extra": extra}


def read_hub_config(file: Path) -> dict[str, Any]:
    """The content of a config.json.

    Raises:
        HubFolderError: it is none.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HubFolderError(f"{file}: no JSON ({error}); export the policy again") from error
    if not isinstance(config, dict):
        raise HubFolderError(f"{file}: no JSON object; export the policy again")
    return config


def _statistics(bundle: PolicyBundle) -> dict[str, Tensor]:
    steps = bundle.transforms.state_dict()["statistics"]
    return {
        f"{STATISTICS}{number}.{name}": value
        for number, values in enumerate(steps)
        for name, value in values.items()
    }


def _transforms(texts: list[str], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What `Transforms.state_dict` gave, from the file of weights."""
    statistics: list[dict[str, Tensor]] = [{} for _ in texts]
    for name, value in state.items():
        if name.startswith(STATISTICS):
            number, _, key = name.removeprefix(STATISTICS).partition(".")
            statistics[int(number)][key] = value
    return {"texts": texts, "statistics": statistics}


def _feature(kind: str, *shape: int) -> dict[str, Any]:
    return {"type": kind, "shape": list(shape)}


def _step(name: str, **config: Any) -> dict[str, Any]:
    return {"registry_name": name, "config": config}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
