"""The peak of a process is its own, whatever started it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from sam2act.runtime.memory import peak_process_bytes

TAKEN = 300_000_000  # bytes
ROUNDING = 2**20  # bytes by which the kernel's count of pages lags behind
CHILD = f"""
import numpy as np
from sam2act.runtime.memory import peak_process_bytes
print(peak_process_bytes())
taken = np.ones({TAKEN}, np.uint8)
print(peak_process_bytes())
del taken
print(peak_process_bytes())
"""


def test_the_peak_rises_with_what_is_touched_and_stays() -> None:
    parents = np.ones(TAKEN, np.uint8)  # in use while the child starts
    child = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, encoding="utf-8", check=True
    )
    before, high, after = map(int, child.stdout.split())
    assert high >= before + 0.9 * TAKEN and after >= high - ROUNDING
    assert 1_000_000 < before < TAKEN // 2
    assert peak_process_bytes() > parents.size
