"""Keeps freed memory in the process while training or acting on a CPU.

By default glibc gives every large block back to the system when it is freed, and the kernel clears
it anew when the next step asks for it: a third of the time of a stage-2 step of the tiny network.
"""

from __future__ import annotations

import ctypes
import sys

# Names and numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEPT, _PAD = 2**31 - 1, 64 * 2**20  # bytes


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed blocks; whether it agreed. Does nothing on other systems."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _PAD))
    return all([set_option(option, value) == 1 for option, value in settings])
