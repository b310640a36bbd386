"""The peak of a process is its own, whatever started it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from sam2act.runtime.memory import peak_process_bytes

CHILD = "from sam2act.runtime.memory import peak_process_bytes; print(peak_process_bytes())"


def test_the_peak_rises_with_what_is_touched_and_stays() -> None:
    before = peak_process_bytes()
    taken = np.ones(2 * before, np.uint8)
    assert peak_process_bytes() > before + taken.size // 4
    high = peak_process_bytes()
    del taken
    assert peak_process_bytes() >= high
    child = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True
    )
    assert 1_000_000 < int(child.stdout) < high // 2
