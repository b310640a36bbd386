"""Mixtures of data sets: by name, written out, and what is refused."""

from __future__ import annotations

import pytest

from sam2act.config.load import load_experiment
from sam2act.config.tasks import task_names
from sam2act.core.errors import ConfigError
from sam2act.core.mixtures import MIXTURES, read_mixture


def test_by_name_and_written_out() -> None:
    assert read_mixture("rtx") == MIXTURES["rtx"] and len(MIXTURES["rtx"]) == 11
    assert read_mixture("open_drawer:1, push_buttons : 0.5") == {
        "open_drawer": 1.0,
        "push_buttons": 0.5,
    }
    experiment = load_experiment("", "data_mix 'open_drawer:1,push_buttons:2'")
    assert task_names(experiment) == ("open_drawer", "push_buttons")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rtxx", "rtxx is no mixture"),
        ("a:1,a:2", "a is named twice"),
        ("a:0", "weight of a is '0'"),
        ("a:much", "weight of a is 'much'"),
        (" , ", "names no data set"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_mixture(text)
