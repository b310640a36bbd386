"""The package `sam2act_client`, which lies in plugins/ and need not be installed."""

from __future__ import annotations

import sys

import pytest

from tests.places import REPOSITORY

pytest.importorskip("websockets", reason="websockets is not installed")
pytest.importorskip("msgpack", reason="msgpack is not installed")
sys.path.insert(0, str(REPOSITORY / "plugins" / "sam2act_client"))
import sam2act_client as sam2act_client  # noqa: E402
from sam2act_client import codec as codec  # noqa: E402
