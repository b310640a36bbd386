"""Sessions of a server: who they are, where in their episodes they are, and their requests."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from sam2act.core.specs import PolicySpec
from sam2act.core.types import Frame
from sam2act.serving.acting import Answer, Turn
from sam2act.serving.batching import Acting, Batcher
from sam2act.serving.errors import RequestError, as_request_error
from sam2act.serving.limits import Limits
from sam2act.serving.metrics import Metrics

LONGEST_NAME = 128  # characters of a session's name
RECENT_SECONDS = 1.0  # a session used so recently may have its next turn any moment


@dataclass(frozen=True)
class Request:
    """A session asks for its next action.

    Attributes:
        session: its name; a new name opens a session.
        frame: what its robot reports.
        instruction: what it is to do.
        step: actions that the client has had in this episode; None = it does not count. The last
            one may be asked for again and is answered as before.
        reset: an episode begins with this frame.
        reset_on_new_instruction: the same if the instruction differs from the one before.
        chunk: all predicted actions are wanted, not the one to execute now.
    """

    session: str
    frame: Frame
    instruction: str
    step: int | None = None
    reset: bool = False
    reset_on_new_instruction: bool = False
    chunk: bool = False


@dataclass(frozen=True)
class Reply:
    """The answer to a request.

    Attributes:
        answer: the actions.
        step: actions that the session had had in its episode before.
        seconds: from the arrival of the request to the answer.
    """

    answer: Answer
    step: int
    seconds: float


@dataclass
class ServedSession:
    """One robot, and where in its episode it is."""

    name: str
    env_id: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    requests: int = 0  # under way
    used: float = 0.0  # when, on the monotonic clock
    step: int = 0
    begins: bool = True
    failed: bool = False  # the server lost the episode
    instruction: str | None = None
    last: Reply | None = None

    def restart(self) -> None:
        """An episode begins with the next turn."""
        self.step, self.begins, self.failed, self.last = 0, True, False, None
        self.instruction = None


class Service:
    """Answers the requests of all sessions; lives in an event loop."""

    def __init__(self, actor: Acting, limits: Limits | None = None) -> None:
        """Answer with `actor`; must be called in a running event loop."""
        self.limits, self.metrics = limits or Limits(), Metrics()
        self.executor = actor.executor
        self._spec = actor.spec
        self._sessions: dict[str, ServedSession] = {}
        self._free_ids = list(range(self.limits.sessions))  # a heap: small numbers first
        self._requests = 0
        self._batcher = Batcher(actor, self.limits, self.metrics, self._recently_used)

    @property
    def spec(self) -> PolicySpec:
        """What must be observed, and what is answered."""
        return self._spec

    @property
    def alive(self) -> bool:
        """Whether requests are still answered."""
        return self._batcher.alive

    def metrics_text(self) -> str:
        """Counts, in the text form of Prometheus."""
        now = {"sessions": len(self._sessions), "requests_under_way": self._requests}
        return self.metrics.text(now)

    async def close(self) -> None:
        """Refuse what still waits."""
        await self._batcher.close()

    async def act(self, request: Request) -> Reply:
        """The answer to a request; it is finished even if its client goes away meanwhile.

        Raises:
            RequestError: there is none; the session is as before.
        """
        started = time.monotonic()
        try:
            with self._under_way():
                reply = await asyncio.shield(self._turn(request, started))
        except Exception as error:
            wrong = as_request_error(error)
            self.metrics.requests[wrong.code] += 1
            raise wrong from error
        self.metrics.requests["ok"] += 1
        self.metrics.latency.add(time.monotonic() - started)
        return reply

    async def reset(self, name: str) -> None:
        """Begin an episode with the session's next request; a new name opens a session.

        Raises:
            RequestError: there are too many sessions.
        """
        with self._used(name) as session:
            async with session.lock:
                session.restart()

    async def end(self, name: str) -> None:
        """Forget a session; one that is not known is forgotten already."""
        session = self._sessions.get(name)
        if session is None:
            return
        async with session.lock:
            self._forget(session)

    # ------------------------------------------------------------------------------- turns
    async def _turn(self, request: Request, started: float) -> Reply:
        with self._used(request.session) as session:
            async with session.lock:
                if self._sessions.get(session.name) is not session:
                    raise RequestError("out_of_step", f"session {session.name} was ended meanwhile")
                known = self._position(session, request)
                if known is not None:
                    return known
                turn = Turn(
                    session.env_id,
                    request.frame,
                    request.instruction,
                    session.step,
                    session.begins,
                    request.chunk,
                )
                try:
                    answer = await self._batcher.submit(turn)
                except RequestError as error:
                    session.failed = session.failed or error.code == "internal"
                    raise
                session.last = Reply(answer, session.step, time.monotonic() - started)
                session.step, session.begins = session.step + 1, False
                session.instruction = request.instruction
                return session.last

    def _position(self, session: ServedSession, request: Request) -> Reply | None:
        """Bring the session to where the request is; its answer if it has been given already.

        Raises:
            RequestError: client and server disagree.
        """
        changed = session.instruction not in (None, request.instruction)
        if request.reset or (request.reset_on_new_instruction and changed):
            session.restart()
        if session.failed:
            raise RequestError(
                "out_of_step",
                f"session {session.name}: the server failed in this episode; begin another one",
            )
        if request.step is None or request.step == session.step:
            return None
        if session.last is not None and request.step == session.last.step:
            return session.last
        raise RequestError(
            "out_of_step",
            f"session {session.name}: expected step {session.step}, got {request.step}; the server "
            "was restarted or has forgotten the session: begin another episode",
        )

    @contextlib.contextmanager
    def _under_way(self) -> Iterator[None]:
        if self._requests >= self.limits.waiting:
            raise RequestError(
                "busy", f"{self._requests} requests wait already, which is the limit; try later"
            )
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    # ---------------------------------------------------------------------------- sessions
    @contextlib.contextmanager
    def _used(self, name: str) -> Iterator[ServedSession]:
        """The session `name`, which is not forgotten meanwhile."""
        session = self._sessions.get(name) or self._open(name)
        session.requests, session.used = session.requests + 1, time.monotonic()
        try:
            yield session
        finally:
            session.requests, session.used = session.requests - 1, time.monotonic()

    def _open(self, name: str) -> ServedSession:
        if not name or len(name) > LONGEST_NAME:
            raise RequestError(
                "bad_request",
                f"session: expected a name of 1 to {LONGEST_NAME} characters, got {len(name)}",
            )
        self._forget_idle()
        if not self._free_ids:
            raise RequestError(
                "busy",
                f"sessions: there are {len(self._sessions)}, which is the limit; end one, or wait "
                f"until one was idle for {self.limits.idle_seconds:g} s",
            )
        session = ServedSession(name, heapq.heappop(self._free_ids))
        self._sessions[name] = session
        return session

    def _forget_idle(self) -> None:
        limit = time.monotonic() - self.limits.idle_seconds
        for session in list(self._sessions.values()):
            if not session.requests and session.used < limit:
                self._forget(session)

    def _forget(self, session: ServedSession) -> None:
        if self._sessions.get(session.name) is session:
            del self._sessions[session.name]
            heapq.heappush(self._free_ids, session.env_id)

    def _recently_used(self) -> int:
        since = time.monotonic() - RECENT_SECONDS
        return sum(s.requests > 0 or s.used > since for s in self._sessions.values())
