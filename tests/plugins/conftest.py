"""LeRobot's plug-ins, where LeRobot is installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.places import REPOSITORY

PLUGINS = REPOSITORY / "plugins"
DISTRIBUTIONS = ("lerobot_env_sam2act", "lerobot_policy_sam2act")


@pytest.fixture(scope="module")
def plugins() -> Iterator[dict[str, Any]]:
    """The two modules."""
    pytest.importorskip("lerobot", reason="needs LeRobot: scripts/make_lerobot_env.sh")
    before = list(sys.path)
    sys.path[:0] = [str(PLUGINS / name) for name in DISTRIBUTIONS]
    yield {name: importlib.import_module(name) for name in DISTRIBUTIONS}
    sys.path[:] = before
