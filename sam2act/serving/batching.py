"""Turns that arrive at nearly the same time share a pass of the policy."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from sam2act.core.errors import UserError
from sam2act.core.specs import PolicySpec
from sam2act.serving.acting import Answer, Turn
from sam2act.serving.errors import RequestError, as_request_error
from sam2act.serving.limits import Limits
from sam2act.serving.metrics import Metrics

LOGGER = logging.getLogger(__name__)


class Acting(Protocol):
    """Who answers turns; see `acting.Actor`."""

    spec: PolicySpec
    executor: str

    def act(self, turns: Sequence[Turn]) -> list[Answer | UserError]:
        """An answer, or what is wrong, for each of the turns, which are of different sessions."""
        ...


class _Waiting(NamedTuple):
    turn: Turn
    answer: asyncio.Future[Answer]


class Batcher:
    """Hands turns to an actor in batches, one after the other, outside the event loop."""

    def __init__(
        self, actor: Acting, limits: Limits, metrics: Metrics, expected: Callable[[], int]
    ) -> None:
        """Batches for `actor`.

        Args:
            actor: who answers.
            limits: size of a batch, and for how long a turn waits for others.
            metrics: where batches are counted.
            expected: how many sessions may have a turn now; for more nobody waits.
        """
        self._actor, self._limits, self._metrics = actor, limits, metrics
        self._expected = expected
        self._waiting: list[_Waiting] = []
        self._some, self._enough = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="acting")
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def alive(self) -> bool:
        """Whether turns are still answered."""
        return not self._task.done()

    async def submit(self, turn: Turn) -> Answer:
        """The answer to a turn.

        Raises:
            RequestError: there is none.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(turn, answer))
        self._some.set()
        if len(self._waiting) >= self._wanted():
            self._enough.set()
        return await answer

    async def close(self) -> None:
        """Stop after the batch under way; turns that still wait are refused."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await asyncio.to_thread(self._thread.shutdown)
        self._fail(self._waiting, RequestError("busy", "the server is stopping"))

    def _wanted(self) -> int:
        return max(1, min(self._limits.batch_size, self._expected()))

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            if len(self._waiting) < self._wanted():
                self._enough.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), self._limits.batch_seconds)
            size = self._limits.batch_size
            batch, self._waiting = self._waiting[:size], self._waiting[size:]
            if not self._waiting:
                self._some.clear()
            await self._answer(batch)

    async def _answer(self, batch: list[_Waiting]) -> None:
        self._metrics.batch.add(len(batch))
        turns = [waiting.turn for waiting in batch]
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._thread, self._actor.act, turns)
        except asyncio.CancelledError:
            self._fail(batch, RequestError("busy", "the server is stopping"))
            raise
        except Exception as error:  # a policy may raise anything; the server goes on
            LOGGER.exception("a batch of %d turns failed", len(batch))
            self._fail(batch, as_request_error(error))
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(as_request_error(answer))
            else:
                waiting.answer.set_result(answer)

    @staticmethod
    def _fail(batch: Sequence[_Waiting], error: RequestError) -> None:
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
