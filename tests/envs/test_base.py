"""The contract that all backends share: actions, configurations, cameras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sam2act.core.errors import ConfigError
from sam2act.envs.base import (
    EnvConfig,
    InvalidActionError,
    check_action,
    filmable,
    restorable,
    scripted,
    target_inside,
)
from sam2act.envs.registry import make_env


class Plain:
    """An environment without any ability beyond the least."""


@pytest.mark.parametrize(
    ("ability", "message"),
    [
        (restorable, "backend x cannot restore recorded scenes; evaluate new ones with --seed"),
        (scripted, "backend x has no scripted expert"),
        (filmable, "backend x cannot be filmed; leave --save-video out"),
    ],
)
def test_what_an_environment_cannot_do_is_told(ability: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ability(Plain(), "backend x")
    env = make_env(EnvConfig("put_block_back", cameras=()))
    assert ability(env) is env, "the embedded simulator can do everything"


ACTION = np.array([0.2, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0])


def test_action_is_normalised_within_the_tolerance() -> None:
    action = ACTION.copy()
    action[3:7] *= 1.0009
    checked = check_action(action)
    assert np.linalg.norm(checked[3:7]) == pytest.approx(1, abs=1e-12)
    assert np.array_equal(np.delete(checked, range(3, 7)), np.delete(ACTION, range(3, 7)))
    assert action[4] == pytest.approx(1.0009)  # the caller's array is left alone


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (ACTION[:8], r"shape \(8,\) instead of \(9,\)"),
        (ACTION[None], "shape"),
        (np.where(np.arange(9) == 4, 1.01, ACTION), "normalise"),
        (np.where(np.arange(9) == 4, 0.0, ACTION), "norm 0"),
        (np.where(np.arange(9) == 0, np.nan, ACTION), "no numbers"),
    ],
)
def test_malformed_action_is_refused(action: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidActionError, match=message):
        check_action(action)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "gazebo"}, "backend: 'gazebo'"),
        ({"image_size": 0}, "image_size"),
    ],
)
def test_impossible_configuration_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnvConfig("put_block_back", **options)


LOW, HIGH = np.array([-0.3, -0.66, 0.752]), np.array([0.8, 0.66, 1.752])


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ((0.1, 0.2, 1.0), (0.1, 0.2, 1.0)),
        ((0.9, 0.2, 1.0), (0.8 - 1e-7, 0.2, 1.0)),
        ((-5.0, -0.66, 0.5), (-0.3 + 1e-7, -0.66 + 1e-7, 0.752 + 1e-7)),
    ],
)
def test_targets_are_moved_into_the_workspace_or_refused(wanted: tuple, reached: tuple) -> None:
    position = np.array(wanted)
    assert target_inside(position, LOW, HIGH, clip=True) == pytest.approx(reached, abs=1e-12)
    assert tuple(position) == wanted, "the caller's array is left alone"
    if wanted == reached:
        assert np.array_equal(target_inside(position, LOW, HIGH, clip=False), position)
    else:
        with pytest.raises(InvalidActionError, match="outside the workspace"):
            target_inside(position, LOW, HIGH, clip=False)
