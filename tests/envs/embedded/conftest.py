"""Environments that several test files use."""

from __future__ import annotations

import pytest

from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.sim import EmbeddedEnv


@pytest.fixture
def blocks() -> EmbeddedEnv:
    """put_block_back without images, at the start of an episode."""
    env = EmbeddedEnv(EnvConfig("put_block_back", cameras=()))
    env.reset(1, 0)
    return env
