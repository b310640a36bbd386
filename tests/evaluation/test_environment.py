"""Every switch of an environment can be set in eval.py and stands in evaluation.json."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sam2act.cli.evaluate import build_parser
from sam2act.envs.base import EnvConfig
from sam2act.evaluation.analysis.comparison import COMPARED_SETTINGS
from sam2act.evaluation.environment import SWITCHES, UNREAD, environment_of, settings_of

FIELDS = {field.name: field for field in dataclasses.fields(EnvConfig)}
OF_THE_POLICY = ("cameras", "image_size")  # its config says what it needs
FLAGS = {"task": "--tasks", "backend": "--backend", "perturbations": "--perturb"}
FLAGS |= {"headless": "--headless"} | {name: f"--{name.replace('_', '-')}" for name in SWITCHES}


def environment(*flags: str) -> EnvConfig:
    args = build_parser().parse_args(flags)
    return environment_of(args, "put_block_back", "embedded", ("front", "wrist"), 64)


def test_every_field_has_a_flag_or_comes_from_the_policy() -> None:
    known = build_parser()._option_string_actions
    assert set(FIELDS) == {*FLAGS, *OF_THE_POLICY, *UNREAD}
    assert [flag for flag in FLAGS.values() if flag not in known] == []


def test_every_field_is_recorded() -> None:
    settings = settings_of(environment("--perturb", "table_color"))
    names = {"perturb" if name == "perturbations" else name for name in FIELDS} - {"task"}
    assert set(settings) == names
    assert settings["perturb"] == ["table_color"] and settings["cameras"] == ["front", "wrist"]
    assert json.loads(json.dumps(settings)) == settings


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_change_their_field_and_forbid_comparison(name: str) -> None:
    flag, default = name.replace("_", "-"), FIELDS[name].default
    assert getattr(environment(), name) is default
    assert getattr(environment(f"--{flag}"), name) is True
    assert getattr(environment(f"--no-{flag}"), name) is False
    assert name in COMPARED_SETTINGS
    others = {n: getattr(environment(f"--no-{flag}"), n) for n in SWITCHES if n != name}
    assert others == {n: FIELDS[n].default for n in others}
