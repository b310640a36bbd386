"""Settings of processes that run a simulator: threads and interrupts."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def ignore_interrupts() -> None:
    """Ignore Ctrl-C in this process; the parent alone decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def single_threaded_children() -> Iterator[None]:
    """Give processes that are started inside one thread each: they share the cores already."""
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Make processes that are started inside ignore Ctrl-C from the beginning.

    One that comes while a child still imports would end it with a traceback. The parent ignores
    it too while this lasts: start processes inside, and nothing else.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
