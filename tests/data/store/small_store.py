"""A small store of recorded demos, and what its tests look at."""

from __future__ import annotations

from pathlib import Path

from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import INDEX_FILE
from tests.data.synthetic_demos import (
    CAMERAS,
    IMAGE_SIZE,
    write_synthetic_task,
)

TASK = "open_drawer"


def small_request(tmp_path: Path) -> StoreRequest:
    """Three recorded demos, not built yet."""
    write_synthetic_task(tmp_path / "demos", task=TASK, episodes=3)
    return StoreRequest(
        tmp_path / "demos", tmp_path / "store", demo=3, cameras=CAMERAS, image_size=IMAGE_SIZE
    )


def build(request: StoreRequest, **options) -> KeyframeStore:
    """The store of the task, built if need be."""
    return ensure_store(request, [TASK], progress=False, **options)


def episode_folder(request: StoreRequest, number: int) -> Path:
    """Where a recorded demo lies."""
    return episodes_folder(request.data_folder, request.split, TASK) / f"episode{number}"


def built_at(request: StoreRequest) -> tuple[int, int]:
    """Changes with every build."""
    status = (request.folder(TASK) / INDEX_FILE).stat()
    return status.st_ino, status.st_mtime_ns


def siblings(request: StoreRequest) -> set[str]:
    """What lies beside the store."""
    names = {path.name for path in request.folder(TASK).parent.iterdir()}
    return names - {TASK, f".{TASK}.lock"}
