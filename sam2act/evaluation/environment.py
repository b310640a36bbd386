"""The environment of an evaluation, and what evaluation.json says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sam2act.config.load import changed
from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec, SpecError, require_match
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import env_spec, get_backend

# Options of backends that are on or off and have a flag in eval.py: default, text of the flag.
SWITCHES = {
    "memory_strict": (
        True,
        "MemoryBench in the embedded simulator: remove what would give the past away",
    ),
    "strict_order": (
        False,
        "MemoryBench: count success only if the steps happen in the described order",
    ),
    "clip_targets": (
        True,
        "move targets outside the workspace into it; otherwise such an action fails",
    ),
    "retry_without_collision": (
        True,
        "plan once more ignoring collisions before an action fails",
    ),
    "stop_on_success": (True, "end a motion as soon as the task is solved"),
}
DEFAULTS: dict[str, Any] = {"perturbations": (), "headless": False} | {
    name: default for name, (default, _) in SWITCHES.items()
}
HARMLESS = ("headless",)  # may be asked of backends that never open a window
_SETTING_NAMES = {"perturbations": "perturb"}  # as the flag is called
IMAGE_SIZE = 128  # pixels per side, where any size will do


def switch_arguments(settings: Mapping[str, Any]) -> dict[str, bool]:
    """The flags, with underscores, that set the switches as `settings` say."""
    return {
        name if settings[name] else f"no_{name}": True
        for name in SWITCHES
        if name in settings and settings[name] is not DEFAULTS[name]
    }


def backend_options(backend: str, given: Mapping[str, Any], opts: str = "") -> Any:
    """The options of a backend, an object of its class `Options`.

    Args:
        backend: its name.
        given: values by name; one that the backend does not have must be the default of its flag.
        opts: further ones as `"key value key value"`.

    Raises:
        ConfigError: the backend has no such option, or a value is impossible.
    """
    kind = get_backend(backend).Options
    known = [field.name for field in dataclasses.fields(kind)]
    for name, value in given.items():
        if name in known or name in HARMLESS or value == DEFAULTS.get(name, ...):
            continue
        flag = _SETTING_NAMES.get(name, name).replace("_", "-")
        raise ConfigError(
            f"--{flag}: backend {backend} has no option {name}; it has {', '.join(known) or 'none'}"
        )
    options = kind(**{name: value for name, value in given.items() if name in known})
    return changed(options, opts) if opts else options


def environment_of(
    spec: PolicySpec, task: str, backend: str, options: Any = None, *, checkpoint: str = "policy"
) -> EnvConfig:
    """The environment in which a policy can act.

    Args:
        spec: of the policy.
        task: name of the task that is opened first.
        backend: which simulator.
        options: of the backend.
        checkpoint: what messages call the policy.

    Raises:
        SpecError: the backend does not give what the policy wants, or does not take its actions;
            every mismatch is told.
        ConfigError: there is no such environment.
    """
    spec = spec.sized(IMAGE_SIZE)
    sides = [side for camera in spec.camera_specs for side in (camera.height, camera.width)]
    config = EnvConfig(
        task=task,
        backend=backend,
        cameras=spec.cameras,
        image_size=max(sides, default=IMAGE_SIZE),
        masks=any(camera.mask for camera in spec.camera_specs),
        options=options,
    )
    try:
        require_match(spec, env_spec(config))
    except SpecError as error:
        raise SpecError(f"{checkpoint} cannot act in backend {backend}: {error}") from error
    return config


def settings_of(config: EnvConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of an environment, as JSON gives it back.

    Every field of `config` but the task, its options under the names of their flags, and the
    published flags also where the backend does not have them.

    Args:
        config: of the environment.
        given: options as they were asked for.
    """
    values = dataclasses.asdict(config)
    options = values.pop("options") or {}
    del values["task"]
    values |= DEFAULTS | dict(given) | options
    return {_SETTING_NAMES.get(name, name): _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
