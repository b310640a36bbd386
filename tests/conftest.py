"""Set-up shared by all tests: no network, few threads, skipping of marked tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["WANDB_MODE"] = "disabled"

import pytest  # noqa: E402
import torch  # noqa: E402

if not torch.cuda.is_available():  # Triton reads it when a kernel is defined
    os.environ.setdefault("TRITON_INTERPRET", "1")
# In the background of a shell, or under nohup, signals are ignored; programs under test inherit it.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


# Files that take longest. They come first: with several workers, the last file to end decides.
LONG_FILES = (
    "test_benchmarks.py",
    "cli/test_eval.py",
    "policies/sam2act/memory/test_puzzle.py",
    "envs/embedded/test_tasks.py",
    "cli/test_released_commands.py",
    "policies/sam2act/test_golden_memory.py",
    "training/test_validation.py",
    "training/test_processes.py",
    "policies/multiview/test_two_stage.py",
    "cli/test_demos.py",
    "evaluation/test_closed_loop.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--runslow`."""
    parser.addoption(
        "--runslow", action="store_true", default=False, help="also run tests marked slow"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first; skips tests marked slow or gpu where they cannot or should not run."""
    folder = Path(__file__).parent
    order = {folder / name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: order.get(item.path, len(order)))
    skips = {}
    if not config.getoption("--runslow"):
        skips["slow"] = pytest.mark.skip(reason="slow; run with --runslow")
    if not torch.cuda.is_available():
        skips["gpu"] = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        for name, skip in skips.items():
            if item.get_closest_marker(name):
                item.add_marker(skip)
