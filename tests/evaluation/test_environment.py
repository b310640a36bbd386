"""Options of simulators: their flags in eval.py, what stands in evaluation.json, and mismatches."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from sam2act.cli.evaluate import build_parser, options_from
from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec, SpecError, square_cameras
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import get_backend
from sam2act.evaluation.analysis.comparison import COMPARED_SETTINGS
from sam2act.evaluation.environment import (
    DEFAULTS,
    SWITCHES,
    backend_options,
    environment_of,
    settings_of,
)
from sam2act.evaluation.options import EvaluationOptions

SPEC = PolicySpec(square_cameras(("front", "wrist"), 64, depth=True), language=None)
OPTIONS = [get_backend(name).Options for name in ("embedded", "rlbench")]


def asked(*flags: str) -> EvaluationOptions:
    return options_from(build_parser().parse_args(["--model-folder", "runs/x", *flags]))


def environment(*flags: str, backend: str = "embedded") -> EnvConfig:
    options = asked(*flags)
    chosen = backend_options(backend, options.env_options, options.env_opts)
    return environment_of(SPEC, "put_block_back", backend, chosen)


def test_every_option_of_our_simulators_has_a_flag_with_its_default() -> None:
    fields = {field.name: field.default for kind in OPTIONS for field in dataclasses.fields(kind)}
    assert set(fields) == set(DEFAULTS)
    differing = {name for name, value in DEFAULTS.items() if fields[name] != value}
    assert differing == {"headless"}, "the command opens a window unless it is told not to"


def test_every_field_is_recorded() -> None:
    options = asked("--perturb", "table_color", "--headless")
    config = environment("--perturb", "table_color")
    settings = settings_of(config, options.env_options)
    common = {field.name for field in dataclasses.fields(EnvConfig)} - {"task", "options"}
    assert set(settings) == common | {*SWITCHES, "perturb", "headless"}
    assert settings["perturb"] == ["table_color"] and settings["cameras"] == ["front", "wrist"]
    assert settings["headless"] is True and settings["image_size"] == 64
    assert json.loads(json.dumps(settings)) == settings


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_change_their_option_and_forbid_comparison(name: str) -> None:
    flag, default = name.replace("_", "-"), DEFAULTS[name]
    assert getattr(environment().options, name) is default
    assert getattr(environment(f"--{flag}").options, name) is True
    assert getattr(environment(f"--no-{flag}").options, name) is False
    assert name in COMPARED_SETTINGS
    others = {n: getattr(environment(f"--no-{flag}").options, n) for n in SWITCHES if n != name}
    assert others == {n: DEFAULTS[n] for n in others}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--perturb", "table_color"), "--perturb: backend rlbench has no option perturbations"),
        (("--strict-order",), "--strict-order: backend rlbench has no option"),
        (("--no-memory-strict",), "--memory-strict: backend rlbench has no option"),
    ],
)
def test_what_a_backend_does_not_have_is_refused(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=f"{message}.*; it has clip_targets"):
        environment(*flags, backend="rlbench")
    assert environment("--headless").options == OPTIONS[0](), "it never opens a window"
    assert environment(backend="rlbench").options.headless is False


def test_further_options_come_as_pairs() -> None:
    config = environment("--env-opts", "clip_targets False perturbations [table_color]")
    assert config.options == OPTIONS[0](clip_targets=False, perturbations=("table_color",))
    for opts, message in (("gravity 9", "unknown key gravity"), ("clip_targets 3", "clip_targets")):
        with pytest.raises(ConfigError, match=message):
            environment("--env-opts", opts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"camera_specs": square_cameras(("front", "ceiling"), 64, depth=True)},
            "m cannot act in backend embedded: policy wants camera ceiling, environment gives f",
        ),
        (
            {"action": dataclasses.replace(SPEC.action, mode="joint")},
            "policy gives actions of mode joint, environment takes keyframe_pose, ee_pose",
        ),
        ({"action": dataclasses.replace(SPEC.action, rate=5.0)}, "policy acts at 5 Hz"),
    ],
)
def test_a_mismatch_names_both_sides(changes: dict[str, Any], message: str) -> None:
    wanted = dataclasses.replace(SPEC, **changes)
    with pytest.raises(SpecError, match=message):
        environment_of(wanted, "put_block_back", "embedded", checkpoint="m")
