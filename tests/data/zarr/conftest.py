"""The public PushT buffer, where it lies beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.places import REPOSITORY


@pytest.fixture
def pusht_buffer() -> Path:
    """The store `pusht_cchi_v7_replay.zarr`; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SAM2ACT_PUSHT_DIR") or REPOSITORY.parent / "shared" / "pusht")
    store = folder / "pusht_cchi_v7_replay.zarr"
    if not store.is_dir():
        pytest.skip(f"no PushT demonstrations: {store} is absent (set SAM2ACT_PUSHT_DIR)")
    return store
