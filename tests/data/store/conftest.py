"""What tests of stores share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.data.store.request import StoreRequest
from tests.data.store.small_store import small_request


@pytest.fixture
def request_(tmp_path: Path) -> StoreRequest:
    """A store of made-up demos that lie below `tmp_path`; not built yet."""
    return small_request(tmp_path)
