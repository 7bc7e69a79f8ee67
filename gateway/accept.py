"""The browser's side of the gateway: aiohttp's HTTP server, bent in one place to a proxy's needs.

What is bent: malformed requests are answered and logged like every other refusal; a connection
tells its pipe when the browser takes no more; a response may be on the wire already.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong

from gateway.account import EndReason, Exchange, request_id
from gateway.config import MAX_HEADER_SIZE
from gateway.errors import (
    BAD_REQUEST,
    HEADERS_TOO_LARGE,
    INTERNAL_ERROR,
    UPSTREAM_BAD_RESPONSE,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Failure,
    Refusal,
)

# An idle connection, or one that is slow to send a request head, is closed after this long.
KEEPALIVE_TIMEOUT = 75.0
MAX_HEADERS = 256
LINGERING_TIME = 5.0
SERVER = "gateway"  # with no version of it, nor of what it is made of

_ENDINGS = {
    INTERNAL_ERROR: EndReason.ERROR,
    UPSTREAM_BAD_RESPONSE: EndReason.ERROR,
    UPSTREAM_TIMEOUT: EndReason.UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE: EndReason.ERROR,
}


class Flow(Protocol):
    """What wants to know whether the browser takes bytes."""

    def pause(self) -> None:
        """The browser's buffer is full."""

    def resume(self) -> None:
        """It has drained."""


class BrowserConnection(web.RequestHandler):
    """A connection from a browser, with flow control told by callback."""

    __slots__ = ("flow",)

    flow: Flow | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.flow = None
        super().connection_made(transport)

    def pause_writing(self) -> None:
        """Called by the event loop when the write buffer is over its high-water mark."""
        super().pause_writing()
        if self.flow is not None:
            self.flow.pause()

    def resume_writing(self) -> None:
        """Called by the event loop when the write buffer is under its low-water mark."""
        super().resume_writing()
        if self.flow is not None:
            self.flow.resume()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - the parser made none
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - may quote the request, and so a token
    ) -> web.StreamResponse:
        """Answer a request that aiohttp's parser refused (RFC 9112 2.2), and log it."""
        exchange = Exchange(
            method="", path="", request_id=request_id(None), trace_id="", client=remote_of(self)
        )
        refusal = Refusal(_failure(status, exc), reason=type(exc).__name__)
        response = answer(refusal, exchange)
        response.force_close()
        exchange.report()
        return response


def _failure(status: int, exc: BaseException | None) -> Failure:
    if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
        return HEADERS_TOO_LARGE
    return BAD_REQUEST if status < web.HTTPInternalServerError.status_code else INTERNAL_ERROR


def remote_of(connection: web.RequestHandler) -> str:
    """The address at the other end of a connection, or "" when it is gone."""
    peername = connection.peername
    return peername[0] if isinstance(peername, tuple) else ""


def answer(refusal: Refusal, exchange: Exchange) -> web.Response:
    """The response that tells a refusal, and its trace in the exchange's record."""
    failure = refusal.failure
    exchange.status, exchange.code = int(failure.status), failure.code
    exchange.error = refusal.reason
    exchange.end(_ENDINGS.get(failure, EndReason.REFUSED))
    response = web.Response(
        status=failure.status,
        body=refusal.problem(exchange.request_id),
        content_type="application/problem+json",
        headers=[
            *failure.headers,
            *refusal.headers,
            ("Cache-Control", "no-store"),
            ("Server", SERVER),
            ("Referrer-Policy", "no-referrer"),
            ("X-Request-Id", exchange.request_id),
        ],
    )
    if failure is INTERNAL_ERROR:
        response.force_close()
    return response


class Relayed(web.StreamResponse):
    """A response whose bytes are on the wire: aiohttp learns only whether a request may follow."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._is_kept = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open for another request."""
        return self._is_kept

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        """Nothing is left to prepare."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


class Server(web.Server):
    """aiohttp's server, with a handler that is cancelled the moment its browser leaves."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, handler_cancellation=True)

    def __call__(self) -> BrowserConnection:
        """A protocol for a new connection."""
        return BrowserConnection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # aiohttp's own way to have none
            auto_decompress=False,  # a body goes on as it came
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            lingering_time=LINGERING_TIME,
            max_line_size=MAX_HEADER_SIZE,
            max_field_size=MAX_HEADER_SIZE,
            max_headers=MAX_HEADERS,
        )
