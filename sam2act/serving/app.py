"""The routes of a server."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Middleware

from sam2act.core.errors import require, require_choice
from sam2act.serving import http_inference
from sam2act.serving.batching import Acting
from sam2act.serving.dialects.vla_eval import hello
from sam2act.serving.errors import RequestError, as_request_error
from sam2act.serving.limits import Limits
from sam2act.serving.service import Service
from sam2act.serving.websocket import DIALECTS, converse, new_socket

LOGGER = logging.getLogger(__name__)
GOING_AWAY = 1001  # code of a websocket that a server closes when it stops
CLOSING_SECONDS = 5.0
OPEN_PATHS = ("/healthz", "/health")  # need no token
SCHEMES = ("Bearer ", "Api-Key ")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SERVICE = web.AppKey("service", Service)
CONNECTIONS = web.AppKey("connections", set[web.WebSocketResponse])


@dataclass(frozen=True)
class Settings:
    """How a server is reached and what it allows.

    Attributes:
        limits: bounds.
        token: that clients must send; empty lets everybody in.
        dialect: what the websocket at `/` speaks; those at `/<dialect>` are always there.
        aliases: names in observations of other dialects -> names that `frames.loose_frame` knows.
    """

    limits: Limits = field(default_factory=Limits)
    token: str = field(default="", repr=False)
    dialect: str = "sam2act"
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_choice("dialect", self.dialect, tuple(DIALECTS))
        require(all(self.aliases.values()), "aliases: an empty name; write theirs=ours")


def build_app(actor: Acting, settings: Settings) -> web.Application:
    """The application that answers with `actor`."""
    app = web.Application(
        middlewares=[_errors, _guard(settings.token)],
        client_max_size=settings.limits.request_bytes,
    )
    app.cleanup_ctx.append(_serving(actor, settings))
    app[CONNECTIONS] = set()
    app.on_shutdown.append(_say_goodbye)
    for path in OPEN_PATHS:
        app.router.add_get(path, _health)
    app.router.add_get("/config", _config)
    for path, dialect in [("", settings.dialect), *((name, name) for name in DIALECTS)]:
        app.router.add_get(f"/{path}", _socket(dialect, settings))
    app.router.add_get("/metrics", _metrics)
    app.router.add_post("/api/inference", _inference)
    return app


def _serving(actor: Acting, settings: Settings) -> Callable[[web.Application], AsyncIterator[None]]:
    async def context(app: web.Application) -> AsyncIterator[None]:
        app[SERVICE] = Service(actor, settings.limits)
        yield
        await app[SERVICE].close()

    return context


# ---------------------------------------------------------------------------- middlewares
@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as JSON with its status."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error_response(error.status, error.reason)
    except Exception as error:  # the server goes on
        wrong = as_request_error(error)
        if wrong.code == "internal":
            LOGGER.exception("%s %s failed", request.method, request.path)
        return _error_response(wrong.status, str(wrong))


def _error_response(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _guard(token: str) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token and request.path not in OPEN_PATHS:
            given = request.headers.get("Authorization", "")
            scheme = next((scheme for scheme in SCHEMES if given.startswith(scheme)), "")
            sent = given[len(scheme) :].encode("utf-8", "surrogateescape")
            if not scheme or not hmac.compare_digest(sent, token.encode()):
                raise RequestError(
                    "not_authorised", "send the header `Authorization: Bearer TOKEN` of this server"
                )
        return await handler(request)

    return check


# ------------------------------------------------------------------------------- handlers
async def _health(request: web.Request) -> web.Response:
    alive = request.app[SERVICE].alive
    return web.json_response({"status": "ok" if alive else "failed"}, status=200 if alive else 503)


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(text=request.app[SERVICE].metrics_text())


async def _inference(request: web.Request) -> web.Response:
    return await http_inference.answer(request.app[SERVICE], request)


async def _config(request: web.Request) -> web.Response:
    """What vla-eval asks for: its names of the size of a batch and of the wait for one."""
    limits = request.app[SERVICE].limits
    values = {"max_batch_size": limits.batch_size, "max_wait_time": limits.batch_seconds}
    return web.json_response(values | hello(request.app[SERVICE].spec))


def _socket(dialect: str, settings: Settings) -> Handler:
    async def connect(request: web.Request) -> web.StreamResponse:
        sockets = request.app[CONNECTIONS]
        if len(sockets) >= settings.limits.connections:
            raise RequestError("busy", f"connections: there are {len(sockets)}, the limit")
        socket = new_socket(settings.limits)
        sockets.add(socket)
        try:
            await socket.prepare(request)
            await converse(request, socket, dialect, request.app[SERVICE], settings.aliases)
        finally:
            sockets.discard(socket)
        return socket

    return connect


async def _say_goodbye(app: web.Application) -> None:
    """Tell all clients that the server is stopping."""
    sockets = [socket for socket in app[CONNECTIONS] if socket.prepared]
    closing = (socket.close(code=GOING_AWAY, message=b"stopping") for socket in sockets)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), CLOSING_SECONDS)
