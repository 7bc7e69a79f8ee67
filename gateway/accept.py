"""The browser's side of the gateway: aiohttp's HTTP server, bent in one place to a proxy's needs.

What is bent: a connection tells the exchange on it when the browser takes no more, leaves, or talks
nonsense; it can flush, reset and count what is unsent; malformed requests are answered and logged
like every other refusal; and a response may be on the wire already.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong

from gateway.account import Exchange, request_id
from gateway.alarm import NEVER, Alarm
from gateway.answer import answer
from gateway.config import SEND_TIMEOUT, Limits
from gateway.errors import (
    BAD_REQUEST,
    HEADERS_TOO_LARGE,
    INTERNAL_ERROR,
    REQUEST_TIMEOUT,
    Failure,
    Refusal,
)
from gateway.hangup import Hangups
from gateway.outlet import Outlet
from gateway.turned_away import TurnedAway

# A connection that is idle between two requests is closed after this long.
KEEPALIVE_TIMEOUT = 75.0
LINGERING_TIME = 5.0
MAX_HEADERS = 256
NO_BYTE = b"\0"  # that a request head may hold
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, with no time to linger

Report = Callable[[Exchange], None]  # tells of an exchange that ended


class Flow(Protocol):
    """The exchange under way on a connection, as far as the connection is concerned."""

    def pause(self) -> None:
        """The browser's buffer is full."""

    def resume(self) -> None:
        """It has drained."""

    def gone(self) -> None:
        """The browser left. Its transport takes nothing any more."""

    def malformed(self) -> None:
        """What the browser sent after its request head is not HTTP/1.1."""


class BrowserConnection(web.RequestHandler):
    """A connection from a browser."""

    __slots__ = (
        "_hangups",
        "_head_due",
        "_head_fault",
        "_head_size",
        "_limits",
        "_report",
        "_unread",
        "alarm",
        "flow",
        "outlet",
    )

    alarm: Alarm
    flow: Flow | None
    outlet: Outlet

    def bind(self, hangups: Hangups, report: Report, limits: Limits) -> None:
        """Give it what it needs of the server; before it is connected."""
        self._report = report
        self.alarm = Alarm()
        self.flow = None
        self._hangups = hangups
        self._limits = limits
        self._head_size = 0
        self._head_due = NEVER
        self._head_fault: Failure | None = None
        self._unread: asyncio.TimerHandle | None = None

    # What an exchange does with it

    def send(self, data: bytes) -> None:
        """Write, unless the browser is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.outlet.write(data)

    def is_flushed(self) -> bool:
        """Whether all is written. If not, `resume` is called when it is."""
        return self.transport is None or self.transport.get_write_buffer_size() == 0

    def unsent(self) -> int:
        """Bytes that the browser has not acknowledged, the kernel's among them."""
        transport = self.transport
        if transport is None:
            return 0
        packed = fcntl.ioctl(_descriptor(transport), termios.TIOCOUTQ, struct.pack("i", 0))
        queued: int = struct.unpack("i", packed)[0]
        return queued + transport.get_write_buffer_size()

    def finish(self) -> None:
        """Send no more, and say so at once, also to a browser that is still sending itself.

        To close while its bytes lie unread would reset the connection, and cost it our last ones.
        """
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def reset(self) -> None:
        """Close at once, and so that the browser cannot take it for an orderly end."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.transport.abort()

    # What the event loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop.

        A write mark of zero: whatever the kernel does not take at once pauses the writing.
        """
        writable = cast("asyncio.Transport", transport)
        if self._is_one_too_many():
            writable.set_protocol(TurnedAway(writable, self._report))
            return
        writable.set_write_buffer_limits(high=0)
        self.outlet = Outlet(writable)
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop."""
        if self.flow is not None:
            self.flow.gone()
        self.alarm.silence()
        self._forget_unread()
        self._forget_hangup()
        self.outlet.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        super().data_received(data)
        if self.flow is None:
            self._bound_head(len(data))
        elif self._messages and not isinstance(self._messages[-1][0], RawRequestMessage):
            # aiohttp queues the fault behind the request under way, whose body it may be.
            self.close()
            self.flow.malformed()

    def eof_received(self) -> None:
        """Called by the event loop, which then closes once all is written.

        To a browser that takes nothing that would be never.
        """
        if self.flow is not None and self.writing_paused:
            self.reset()

    def pause_writing(self) -> None:
        """Called by the event loop when the write buffer is over its high-water mark."""
        super().pause_writing()
        self.outlet.pause()
        if self.flow is not None:
            self.flow.pause()
        else:
            self._unread = asyncio.get_running_loop().call_later(SEND_TIMEOUT, self.reset)

    def resume_writing(self) -> None:
        """Called by the event loop when the write buffer is under its low-water mark."""
        super().resume_writing()
        self.outlet.resume()
        self._forget_unread()
        if self.flow is not None:
            self.flow.resume()

    # What aiohttp does

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        if self.transport is not None and not self.transport.is_closing():
            self._hangups.watch(_descriptor(self.transport), self.reset)

    def _resume_transport_reading(self) -> None:
        self._forget_hangup()
        super()._resume_transport_reading()

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
        fault = self._head_fault
        refusal = Refusal(
            fault or _failure(status, exc), reason="" if fault else type(exc).__name__
        )
        response = answer(refusal, exchange)
        response.force_close()
        self._report(exchange)
        return response

    # Inside

    def _bound_head(self, size: int) -> None:
        """Refuse a head that grows past the limit, line by line, or takes too long to be whole.

        Most are whole at once, and cost nothing here. What comes of the next one while a request is
        under way is not counted: the bound for idle connections holds for that.
        """
        is_at_work = self._waiter is None and self._request_count > 0
        if self._messages or is_at_work:
            self._head_size, self._head_due = 0, NEVER
            return
        self._head_size += size
        if self._head_due == NEVER:
            self._await_head()
        if self._head_size > self._limits.max_header_size:
            self._refuse_head(HEADERS_TOO_LARGE)

    def _await_head(self) -> None:
        """Bound the time for a head, which begins now."""
        bound = self._limits.header_timeout
        if bound is not None and self._head_fault is None:
            self._head_due = asyncio.get_running_loop().time() + bound
            self.alarm.listen(self._look_for_head)
            self.alarm.set(self._head_due)

    def _look_for_head(self) -> None:
        """The alarm rang: close where nothing came, refuse what came in part."""
        if asyncio.get_running_loop().time() < self._head_due:
            if self._head_due != NEVER:
                self.alarm.set(self._head_due)
        elif self._head_size == 0:
            self.force_close()
        else:
            self._refuse_head(REQUEST_TIMEOUT)

    def _refuse_head(self, failure: Failure) -> None:
        """Make the parser give up on a head, once: its fault is answered like any other."""
        if self._head_fault is None:
            self._head_fault, self._head_due = failure, NEVER
            super().data_received(NO_BYTE)

    def _is_one_too_many(self) -> bool:
        most, server = self._limits.max_connections, self._manager
        return most is not None and server is not None and len(server._connections) >= most  # noqa: SLF001 - its list is a copy

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _forget_hangup(self) -> None:
        if self.transport is not None:
            self._hangups.forget(_descriptor(self.transport), self.reset)


def _descriptor(transport: asyncio.Transport) -> int:
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor


def _failure(status: int, exc: BaseException | None) -> Failure:
    if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
        return HEADERS_TOO_LARGE
    return BAD_REQUEST if status < web.HTTPInternalServerError.status_code else INTERNAL_ERROR


def remote_of(connection: web.RequestHandler) -> str:
    """The address at the other end of a connection, or "" when it is gone."""
    peername = connection.peername
    return peername[0] if isinstance(peername, tuple) else ""


class Relayed(web.StreamResponse):
    """A response whose bytes are on the wire: aiohttp learns only whether a request may follow.

    Nothing of it is a response's own: `KEEPING` and `CLOSING` serve for all.
    """

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


KEEPING = Relayed(keep_alive=True)
CLOSING = Relayed(keep_alive=False)


class Server(web.Server):
    """aiohttp's server, with a handler that is cancelled the moment its browser leaves.

    `limits` hold for each connection from its start to its end; new ones hold for new connections.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        report: Report = Exchange.report,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.limits = limits or Limits()
        self._hangups = Hangups()
        self._report = report

    def __call__(self) -> BrowserConnection:
        """A protocol for a new connection."""
        connection = BrowserConnection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # aiohttp's own way to have none
            auto_decompress=False,  # a body goes on as it came
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            lingering_time=LINGERING_TIME,
            max_line_size=self.limits.max_header_size,
            max_field_size=self.limits.max_header_size,
            max_headers=MAX_HEADERS,
        )
        connection.bind(self._hangups, self._report, self.limits)
        return connection

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own
        """Close every connection, after `timeout` seconds at the latest."""
        await super().shutdown(timeout)
        self._hangups.close()
