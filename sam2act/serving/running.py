"""Starting and stopping a server: in this thread until it is interrupted, or beside it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from sam2act.serving.app import Settings, build_app
from sam2act.serving.batching import Acting

LOOPBACK = "127.0.0.1"


async def _started(actor: Acting, settings: Settings, host: str, port: int) -> web.AppRunner:
    runner = web.AppRunner(build_app(actor, settings), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner


async def _finish(runner: web.AppRunner) -> None:
    """Close the connections, and end what still waits for one."""
    await runner.cleanup()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"{host}:{port}"


def serve(
    actor: Acting, settings: Settings, host: str, port: int, ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM, or an interruption, which is raised.

    Args:
        actor: who acts.
        settings: see `Settings`.
        host: address to listen at.
        port: its port; 0 = a free one.
        ready: called with `host:port` when requests are taken.

    Raises:
        OSError: the address is taken or not of this machine.
    """

    async def run() -> None:
        runner = await _started(actor, settings, host, port)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        try:
            ready(_address(runner))
            await ended.wait()
        finally:
            await _finish(runner)

    asyncio.run(run())


@contextmanager
def serving(actor: Acting, settings: Settings | None = None, port: int = 0) -> Iterator[str]:
    """Serve on the loopback in a thread; gives `host:port`.

    Raises:
        OSError: the port is taken.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="serving", daemon=True)
    thread.start()

    def finished(coroutine: object) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()  # type: ignore[arg-type]

    try:
        runner = finished(_started(actor, settings or Settings(), LOOPBACK, port))
        assert isinstance(runner, web.AppRunner)
        try:
            yield _address(runner)
        finally:
            finished(_finish(runner))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
