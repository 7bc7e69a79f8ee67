"""One connection from a client: aiohttp's HTTP server, adapted to a proxy.

What is adapted: the connection reports to its exchange when the client takes no more, leaves, or
sends malformed bytes. It can flush, reset, and count unsent bytes. Malformed requests are answered
and logged like all rejections. A response may have been sent already. Requests are served one after
the other by a loop of our own, because aiohttp makes a task, a writer and a request object for
each, and a forwarded request needs none of them.
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
from typing import Any, Protocol, TypeAlias, cast

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

# A connection that is idle between two requests is closed after this time.
KEEPALIVE_TIMEOUT = 75.0
LINGERING_TIME = 5.0
NO_BYTE = b"\0"  # no request head may contain it
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, with no time to linger

Report = Callable[[Exchange], None]  # called with an exchange that has ended
# A task that runs at once, up to its first wait.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class ConnectionListener(Protocol):
    """The exchange on a connection, as the connection sees it."""

    def pause(self) -> None:
        """The write buffer to the client is full."""

    def resume(self) -> None:
        """The write buffer to the client is empty again."""

    def client_gone(self) -> None:
        """The client is gone. Its transport accepts nothing any more."""

    def client_malformed(self) -> None:
        """The client sent bytes after its request head that are not HTTP/1.1."""


class AlreadySent:
    """A response whose bytes were sent; `keep_alive` says whether another request may follow."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive


KEEPING = AlreadySent(keep_alive=True)
CLOSING = AlreadySent(keep_alive=False)


class ParsedRequest:
    """A request as aiohttp's parser read it, with its connection."""

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
        """Release everything large, because a stream may go on for hours."""
        self.target, self.headers, self._message = "", (), None

    @cached_property
    def request(self) -> web.BaseRequest:
        """The request as aiohttp's class, for responses that aiohttp writes."""
        loop, connection = asyncio.get_running_loop(), self.connection
        writer, task = StreamWriter(connection, loop), asyncio.current_task()
        assert task is not None  # noqa: S101 - who serves it is one
        message = self._message or self._rest_of_message()
        return web.BaseRequest(message, self.content, connection, writer, task, loop)

    @property
    def is_answered(self) -> bool:
        """Whether a response through `request` was sent, at least in part."""
        return "request" in self.__dict__ and self.request.writer.output_size > 0

    def _rest_of_message(self) -> RawRequestMessage:
        """Returns what a response depends on."""
        headers: CIMultiDict[str] = CIMultiDict()
        is_closing = not self.keep_alive
        return RawRequestMessage(
            *(self.method, "/", self.version, CIMultiDictProxy(headers), (), is_closing),
            *(None, False, False, URL("/")),
        )


# A response that aiohttp sends, or one that was sent already.
Response: TypeAlias = "web.StreamResponse | AlreadySent"
Handle = Callable[[ParsedRequest], Awaitable[Response]]


class Serving(Protocol):
    """What answers the requests of all connections; a reload replaces its `handle`."""

    handle: Handle


class ClientConnection(web.RequestHandler):
    """A connection from a client."""

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

    address: str  # of the client
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
        """Set what the connection needs of the server, before it is connected."""
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

    # Called by an exchange

    def send(self, data: bytes) -> None:
        """Write, unless the client is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.writer.write(data)

    def is_flushed(self) -> bool:
        """Whether all bytes are written. If not, `resume` is called when they are."""
        return self.transport is None or self.transport.get_write_buffer_size() == 0

    def unsent(self) -> int:
        """Returns the bytes that the client has not acknowledged, including those in the kernel."""
        transport = self.transport
        if transport is None:
            return 0
        packed = fcntl.ioctl(_descriptor(transport), termios.TIOCOUTQ, struct.pack("i", 0))
        queued: int = struct.unpack("i", packed)[0]
        return queued + transport.get_write_buffer_size()

    def finish(self) -> None:
        """Send no more, and signal it at once, also to a client that still sends.

        Closing while its bytes are unread would reset the connection, and lose our last bytes.
        """
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def reset(self) -> None:
        """Close at once, in a way that the client cannot take for an orderly end."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.transport.abort()

    # Another protocol than HTTP. aiohttp keeps the bytes behind a request to switch to one.

    @property
    def may_switch(self) -> bool:
        """Whether the bytes behind the current request were left unread, for another protocol."""
        return self._upgraded and not self._messages

    def switch(self, receiver: UpgradeReceiver) -> None:
        """Read no more HTTP: what the client sends, or has sent already, goes to the receiver."""
        if self.transport is None:
            return
        its_own: Any = self  # mypyc sees no attributes of aiohttp
        early, its_own._message_tail = its_own._message_tail, b""  # noqa: SLF001 - as above
        self.transport.set_protocol(UpgradedProtocol(self, receiver))
        if early:
            receiver.sent(early)
        if self._buffer_paused:
            self._resume_reading_for_buffer()

    def hold(self) -> None:
        """Stop reading from the client, but notice when it leaves."""
        self._pause_transport_reading()

    def unhold(self) -> None:
        """Read again."""
        self._resume_transport_reading()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop.

        The write mark is zero: whatever the kernel does not take at once pauses the writing.
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
            self.listener.client_gone()
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
            # aiohttp queues the fault behind the current request, whose body it may be.
            self.close()
            self.listener.client_malformed()

    def eof_received(self) -> None:
        """Called by the event loop, which then closes once all bytes are written.

        A client that takes nothing would keep it open for ever.
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

    # Called by aiohttp

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        if self.transport is not None and not self.transport.is_closing():
            self._disconnects.watch(_descriptor(self.transport), self.reset)

    def _resume_transport_reading(self) -> None:
        self._forget_hangup()
        super()._resume_transport_reading()

    def refuse_head(self, failure: Failure) -> None:  # noqa: ARG002 - `HeadLimits` knows it
        """Make the parser reject a head; its fault is answered like any other."""
        self.data_received(NO_BYTE)

    async def start(self) -> None:
        """Called by aiohttp for a new connection. Requests are served as they come."""

    def close(self) -> None:
        """Accept no more requests. The current exchange goes on to its end."""
        super().close()
        if not self._is_at_work and self.transport is not None:
            self.transport.close()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own
        """Accept no more requests; end the current exchange within `timeout` seconds."""
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
        """Serve all requests that have come. The task is cancelled when the client leaves."""
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
        """Returns the first that waits: a request or a fault, and its body."""
        message, content = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return message, content

    async def _serve(self, message: Any, content: StreamReader) -> bool:
        """Serve one request. Returns whether another may follow."""
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
                self.reset()  # an orderly close could say that the response is complete
            else:
                self._answer_fault()
            return False
        if not content.is_eof():
            await self._linger(content)
        return bool(response.keep_alive) and content.is_eof()

    async def _linger(self, content: StreamReader) -> None:
        """Read the rest of a body, because closing on it could cost the client the response."""
        with contextlib.suppress(TimeoutError, web.RequestPayloadError):
            async with asyncio.timeout(LINGERING_TIME):
                while not content.is_eof():
                    await content.readany()

    def _answer_fault(self, status: int = 500, exc: BaseException | None = None) -> None:
        """Reject what aiohttp's parser rejected (RFC 9112 2.2), and log it."""
        fault = self._head.fault
        rejection = Rejection(
            fault or _failure(status, exc),
            reason="" if fault or exc is None else type(exc).__name__,
        )
        exchange = Exchange("", "", request_id(None), "", self.address)
        exchange.reject(rejection)
        self.send(closing_response(rejection, exchange.request_id))
        self._report(exchange)

    # Private

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
    """Answer a connection without room with a 503, or close it."""
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
