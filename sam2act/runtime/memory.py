"""The memory that this process takes."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_PEAK = "VmHWM:"
_KIBIBYTE = 1024


def peak_process_bytes() -> int:
    """The most memory that this process had in use at any time, without its own processes.

    Linux says it in /proc; `getrusage` there also counts what the process that started this one
    had in use at that moment.
    """
    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(_PEAK):
            return int(line.split()[1]) * _KIBIBYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIBIBYTE
