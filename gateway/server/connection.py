"""The browser's side of the gateway: aiohttp's HTTP server, bent in one place to a proxy's needs.

What is bent: a connection tells the exchange on it when the browser takes no more, leaves, or talks
nonsense; it can flush, reset and count what is unsent; malformed requests are answered and logged
like every other refusal; a response may be on the wire already; and requests are served one after
the other by a loop of our own, as aiohttp's makes a task, a writer and a request object for each,
of which a relayed one needs none.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, Protocol, cast

import structlog
from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import LineTooLong
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.config.model import SEND_TIMEOUT, Limits
from gateway.http.errors import (
    BAD_REQUEST,
    HEADERS_TOO_LARGE,
    INTERNAL_ERROR,
    Failure,
    Rejection,
)
from gateway.http.problem import closing_response
from gateway.server.admission import Admission, Verdict
from gateway.server.disconnects import DisconnectWatcher
from gateway.server.head_limits import HeadLimits
from gateway.server.overload import OverloadProtocol, address_of
from gateway.server.socket_writer import SocketWriter
from gateway.server.timer import Timer
from gateway.server.upgrade import UpgradedProtocol, UpgradeReceiver
from gateway.telemetry.exchange import Exchange, request_id

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

# A connection that is idle between two requests is closed after this long.
KEEPALIVE_TIMEOUT = 75.0
LINGERING_TIME = 5.0
NO_BYTE = b"\0"  # that a request head may hold
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, with no time to linger

Report = Callable[[Exchange], None]  # tells of an exchange that ended
# A task that runs at once, up to where it waits for something.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class ConnectionListener(Protocol):
    """The exchange under way on a connection, as far as the connection is concerned."""

    def pause(self) -> None:
        """The browser's buffer is full."""

    def resume(self) -> None:
        """It has drained."""

    def gone(self) -> None:
        """The browser left. Its transport takes nothing any more."""

    def malformed(self) -> None:
        """What the browser sent after its request head is not HTTP/1.1."""


class AlreadySent:
    """A response whose bytes are on the wire; `keep_alive` says whether a request may follow."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive


KEEPING = AlreadySent(keep_alive=True)
CLOSING = AlreadySent(keep_alive=False)


class ParsedRequest:
    """A request as aiohttp's parser read it, and the connection that it came on."""

    def __init__(
        self, message: RawRequestMessage, content: StreamReader, connection: "ClientConnection"
    ) -> None:
        self.method = message.method
        self.version = message.version
        self.keep_alive = not message.should_close
        self.target = message.path
        self.headers = message.raw_headers
        self.content = content
        self.connection = connection
        self._message: RawRequestMessage | None = message

    def forget(self) -> None:
        """Let go of all that takes space, and was read: a stream may go on for hours."""
        self.target, self.headers, self._message = "", (), None

    @cached_property
    def request(self) -> web.BaseRequest:
        """The same as aiohttp has it, which its own responses are written by."""
        loop, connection = asyncio.get_running_loop(), self.connection
        writer, task = StreamWriter(connection, loop), asyncio.current_task()
        assert task is not None  # noqa: S101 - who serves it is one
        message = self._message or self._rest_of_message()
        return web.BaseRequest(message, self.content, connection, writer, task, loop)

    @property
    def is_answered(self) -> bool:
        """Whether a response by way of `request` is on the wire, in part at least."""
        return "request" in self.__dict__ and self.request.writer.output_size > 0

    def _rest_of_message(self) -> RawRequestMessage:
        """What a response depends on."""
        headers: CIMultiDict[str] = CIMultiDict()
        is_closing = not self.keep_alive
        return RawRequestMessage(
            *(self.method, "/", self.version, CIMultiDictProxy(headers), (), is_closing),
            *(None, False, False, URL("/")),
        )


Handle = Callable[[ParsedRequest], Awaitable[web.StreamResponse | AlreadySent]]


class Serving(Protocol):
    """What answers the requests of all connections; a reload replaces its `handle`."""

    handle: Handle


class ClientConnection(web.RequestHandler):
    """A connection from a browser."""

    __slots__ = (
        "_admission",
        "_disconnects",
        "_head",
        "_is_at_work",
        "_limits",
        "_report",
        "_serving",
        "_task",
        "_unread",
        "address",
        "listener",
        "timer",
        "writer",
    )

    address: str  # of who is at the other end
    timer: Timer
    listener: ConnectionListener | None
    writer: SocketWriter

    def bind(
        self,
        serving: Serving,
        disconnects: DisconnectWatcher,
        report: Report,
        limits: Limits,
        admission: Admission,
    ) -> None:
        """Give it what it needs of the server; before it is connected."""
        self._serving = serving
        self._admission = admission
        self._report = report
        self.address = ""
        self.timer = Timer()
        self.listener = None
        self._disconnects = disconnects
        self._limits = limits
        self._head = HeadLimits(self, limits, self.timer)
        self._unread: asyncio.TimerHandle | None = None
        self._is_at_work = False
        self._task: asyncio.Task[None] | None = None

    # What an exchange does with it

    def send(self, data: bytes) -> None:
        """Write, unless the browser is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.writer.write(data)

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

    # Another protocol than HTTP. aiohttp keeps what came behind a request to switch to one.

    @property
    def may_switch(self) -> bool:
        """Whether what follows the request under way was left unread, for another protocol."""
        return self._upgraded and not self._messages

    def switch(self, receiver: UpgradeReceiver) -> None:
        """Read no more HTTP: what the browser sends, or has sent already, goes to the taker."""
        if self.transport is None:
            return
        its_own: Any = self  # as mypyc sees no attribute of aiohttp's
        early, its_own._message_tail = its_own._message_tail, b""  # noqa: SLF001 - as above
        self.transport.set_protocol(UpgradedProtocol(self, receiver))
        if early:
            receiver.sent(early)
        if self._buffer_paused:
            self._resume_reading_for_buffer()

    def hold(self) -> None:
        """Read no more from the browser for now, but see it leave."""
        self._pause_transport_reading()

    def unhold(self) -> None:
        """Read on."""
        self._resume_transport_reading()

    # What the event loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop.

        A write mark of zero: whatever the kernel does not take at once pauses the writing.
        """
        writable = cast("asyncio.Transport", transport)
        verdict = self._admission.enter(_descriptor(writable), self._limits.max_connections)
        if verdict is not Verdict.ADMITTED:
            _reject(writable, verdict, self._report)
            return
        writable.set_write_buffer_limits(high=0)
        self.writer = SocketWriter(writable)
        super().connection_made(transport)
        self.address = address_of(writable)
        self._head.begin(self._limits.header_timeout or KEEPALIVE_TIMEOUT)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop."""
        self._admission.leave()
        if self.listener is not None:
            self.listener.gone()
        self.timer.silence()
        self._forget_unread()
        self._forget_hangup()
        self.writer.close()
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        super().data_received(data)
        if not self._is_at_work:
            if self._messages:
                self._begin_work()
            else:
                self._head.took(len(data))
        elif self.listener is not None and self._ends_in_nonsense():
            # aiohttp queues the fault behind the request under way, whose body it may be.
            self.close()
            self.listener.malformed()

    def eof_received(self) -> None:
        """Called by the event loop, which then closes once all is written.

        To a browser that takes nothing that would be never.
        """
        if self.listener is not None and self.writing_paused:
            self.reset()

    def pause_writing(self) -> None:
        """Called by the event loop when the write buffer is over its high-water mark."""
        super().pause_writing()
        self.writer.pause()
        if self.listener is not None:
            self.listener.pause()
        else:
            self._unread = asyncio.get_running_loop().call_later(SEND_TIMEOUT, self.reset)

    def resume_writing(self) -> None:
        """Called by the event loop when the write buffer is under its low-water mark."""
        super().resume_writing()
        self.writer.resume()
        self._forget_unread()
        if self.listener is not None:
            self.listener.resume()

    # What aiohttp does

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        if self.transport is not None and not self.transport.is_closing():
            self._disconnects.watch(_descriptor(self.transport), self.reset)

    def _resume_transport_reading(self) -> None:
        self._forget_hangup()
        super()._resume_transport_reading()

    def refuse_head(self, failure: Failure) -> None:  # noqa: ARG002 - `HeadLimits` knows it
        """Make the parser give up on a head: its fault is answered like any other."""
        self.data_received(NO_BYTE)

    async def start(self) -> None:
        """Called by aiohttp for a new connection. Requests are served as they come."""

    def close(self) -> None:
        """Take no more requests. What is under way goes on to its end."""
        super().close()
        if not self._is_at_work and self.transport is not None:
            self.transport.close()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own
        """Take no more requests; end what is under way after `timeout` seconds at the latest."""
        self.close()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout)
            self._cancel()
        self.force_close()

    # Requests, one after the other

    def _begin_work(self) -> None:
        self._is_at_work = True
        self._head.end()
        task = asyncio.Task(self._work(), loop=self._loop, **_EAGER)
        self._task = None if task.done() else task

    async def _work(self) -> None:
        """Serve what came, until nothing is left. It is cancelled when the browser leaves."""
        is_kept = True
        try:
            while is_kept and self._messages and not self._force_close:
                is_kept = await self._serve(*self._next())
        except Exception:
            log.exception("connection_failed", client=self.address)
            is_kept = False
            self.reset()
        finally:
            self._is_at_work = False
            self._task = None
        if not is_kept or self._close:
            self.close()
        else:
            self._head.begin(KEEPALIVE_TIMEOUT)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _next(self) -> tuple[Any, StreamReader]:
        """What came first of what waits: a request or a fault, and the body."""
        message, content = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return message, content

    async def _serve(self, message: Any, content: StreamReader) -> bool:
        """Serve one request, to its end; whether another may follow."""
        if not isinstance(message, RawRequestMessage):
            self._answer_fault(message.status, message.exc)
            return False
        parsed = ParsedRequest(message, content, self)
        del message  # it is large
        try:
            response = await self._serving.handle(parsed)
            if not isinstance(response, AlreadySent):
                await response.prepare(parsed.request)
                await response.write_eof()
        except ConnectionError:
            return False
        except Exception:
            log.exception("internal_error")
            if parsed.is_answered:
                self.reset()  # an orderly close could say that it is whole
            else:
                self._answer_fault()
            return False
        if not content.is_eof():
            await self._linger(content)
        return bool(response.keep_alive) and content.is_eof()

    async def _linger(self, content: StreamReader) -> None:
        """Take what is left of a body: to close on it could cost the browser the response."""
        with contextlib.suppress(TimeoutError, web.RequestPayloadError):
            async with asyncio.timeout(LINGERING_TIME):
                while not content.is_eof():
                    await content.readany()

    def _answer_fault(self, status: int = 500, exc: BaseException | None = None) -> None:
        """Refuse what aiohttp's parser refused (RFC 9112 2.2), and log it."""
        fault = self._head.fault
        rejection = Rejection(
            fault or _failure(status, exc),
            reason="" if fault or exc is None else type(exc).__name__,
        )
        exchange = Exchange("", "", request_id(None), "", self.address)
        exchange.reject(rejection)
        self.send(closing_response(rejection, exchange.request_id))
        self._report(exchange)

    # Inside

    def _ends_in_nonsense(self) -> bool:
        return bool(self._messages) and not isinstance(self._messages[-1][0], RawRequestMessage)

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _forget_hangup(self) -> None:
        if self.transport is not None:
            self._disconnects.forget(_descriptor(self.transport), self.reset)


def _reject(
    transport: asyncio.Transport, verdict: Verdict, report: Callable[[Exchange], None]
) -> None:
    """Answer a connection that has no room with a 503, or close it."""
    if verdict is Verdict.REJECTED:
        transport.set_protocol(OverloadProtocol(transport, report))
    else:
        transport.set_protocol(asyncio.Protocol())
        transport.abort()


def _descriptor(transport: asyncio.Transport) -> int:
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor


def _failure(status: int, exc: BaseException | None) -> Failure:
    if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
        return HEADERS_TOO_LARGE
    return BAD_REQUEST if status < web.HTTPInternalServerError.status_code else INTERNAL_ERROR
