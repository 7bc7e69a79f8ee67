"""One HTTP/1 connection from a client: its requests, one after the other (RFC 9112).

Everything happens in callbacks. The server starts a task for each request, which calls back when it
has answered.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, cast

import structlog

from gateway.config.model import SEND_TIMEOUT, Limits
from gateway.http.errors import INTERNAL_ERROR, Failure, Malformed, Rejection
from gateway.http.own_response import OwnResponse
from gateway.http.problem import closing_response
from gateway.http.request_parser import RequestHead, RequestReader
from gateway.server.admission import Admission, Verdict
from gateway.server.disconnects import DisconnectWatcher
from gateway.server.head_limits import HeadLimits
from gateway.server.overload import OverloadProtocol, address_of
from gateway.server.request_body import RequestBody
from gateway.server.socket_writer import SocketWriter
from gateway.server.timer import Timer
from gateway.server.upgrade import UpgradedProtocol, UpgradeReceiver
from gateway.telemetry.exchange import Exchange, request_id

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

# A connection that is idle between two requests is closed after this time.
KEEPALIVE_TIMEOUT = 75.0
LINGERING_TIME = 5.0
# Bytes behind a request under way, such as further requests, over which reading stops.
MAX_AHEAD = 64 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, with no time to linger

Report = Callable[[Exchange], None]  # called with an exchange that has ended


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
    """A request as the parser read it, with its connection."""

    def __init__(
        self, head: RequestHead, content: RequestBody, connection: "ClientConnection"
    ) -> None:
        self.head = head
        self.content = content
        self.connection = connection


# A response of the gateway itself, which ends its connection, or one that was sent already.
Response: TypeAlias = "OwnResponse | AlreadySent"
Handle = Callable[[ParsedRequest], Awaitable[Response]]


class Serving(Protocol):
    """What all connections share. A reload replaces `limits` for new connections."""

    limits: Limits
    report: Report
    admission: Admission
    disconnects: DisconnectWatcher
    connections: "set[ClientConnection]"

    def start(self, request: ParsedRequest) -> asyncio.Task[None] | None:
        """Returns the task that answers a request; None if it has answered already."""


class ClientConnection:
    """A connection from a client: an `asyncio.Protocol`, of which it needs no base class."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._limits = limits = serving.limits
        self.address = ""  # of the client
        self.timer = Timer()
        self.listener: ConnectionListener | None = None
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None  # of the exchange under way
        self.writer: SocketWriter
        self.writing_paused = False
        self._reader = RequestReader(limits.max_header_size)
        self._head = HeadLimits(self, limits, self.timer)
        self._body = RequestBody(None, is_chunked=False)
        self._following: RequestHead | None = None  # the head of the next request
        self._ahead = b""  # what came behind it, with it, or for another protocol
        self._is_reading_paused = False
        self._is_busy = False  # from the start of a request until its response was sent
        self._is_starting = False
        self._is_kept = True  # whether another request may follow the present one
        self._is_ending = False  # whether the response waits to be taken, or for the body's rest
        self._is_closing = False  # no further request is accepted
        self._bound: asyncio.TimerHandle | None = None  # of a client that takes or sends nothing

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

    # Another protocol than HTTP

    @property
    def may_switch(self) -> bool:
        """Whether the bytes behind the current request were left unread, for another protocol."""
        return self._reader.is_upgraded

    def switch(self, receiver: UpgradeReceiver) -> None:
        """Read no more HTTP: what the client sends, or has sent already, goes to the receiver."""
        if self.transport is None:
            return
        early, self._ahead = self._ahead, b""
        self.transport.set_protocol(UpgradedProtocol(self, receiver))
        if early:
            receiver.sent(early)
        self.unhold()

    def hold(self) -> None:
        """Stop reading from the client, but notice when it leaves."""
        transport = self.transport
        if transport is not None and not transport.is_closing() and not self._is_reading_paused:
            self._is_reading_paused = True
            transport.pause_reading()
            self._serving.disconnects.watch(_descriptor(transport), self.reset)

    def unhold(self) -> None:
        """Read again."""
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._forget_hangup()
            if self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop.

        The write mark is zero: whatever the kernel does not take at once pauses the writing.
        """
        writable = cast("asyncio.Transport", transport)
        verdict = self._serving.admission.enter(_descriptor(writable), self._limits.max_connections)
        if verdict is not Verdict.ADMITTED:
            _reject(writable, verdict, self._serving.report)
            return
        writable.set_write_buffer_limits(high=0)
        self.transport = writable
        self.writer = SocketWriter(writable)
        self.address = address_of(writable)
        self._serving.connections.add(self)
        self._head.begin(self._limits.header_timeout or KEEPALIVE_TIMEOUT)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - it is over
        """Called by the event loop."""
        self._serving.admission.leave()
        self._serving.connections.discard(self)
        if self.listener is not None:
            self.listener.client_gone()
        self.timer.silence()
        self._forget_bound()
        self._forget_hangup()
        self.writer.close()
        self._reader.close()
        self.transport = None
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._read(data)
            if not self._is_busy and self._following is not None:
                self._start()
        except Malformed as fault:
            self._reject_malformed(fault)
        except Exception:
            log.exception("connection_failed", client=self.address)
            self.reset()

    def eof_received(self) -> None:
        """Called by the event loop, which then closes once all bytes are written.

        A client that takes nothing would keep it open for ever.
        """
        if self.listener is not None and self.writing_paused:
            self.reset()

    def pause_writing(self) -> None:
        """Called by the event loop when the write buffer is over its high-water mark."""
        self.writing_paused = True
        self.writer.pause()
        if self.listener is not None:
            self.listener.pause()
        else:
            self._bound = self.timer.loop.call_later(SEND_TIMEOUT, self.reset)

    def resume_writing(self) -> None:
        """Called by the event loop when the write buffer is under its low-water mark."""
        self.writing_paused = False
        self.writer.resume()
        self._forget_bound()
        if self.listener is not None:
            self.listener.resume()
        elif self._is_ending:
            self._end()

    # Called by the task of the exchange

    def answered(self, response: Response) -> None:
        """The request under way was answered; what is no `AlreadySent` is sent here."""
        if isinstance(response, OwnResponse):
            self.send(response.to_bytes(is_last=True))
            response = CLOSING
        self._is_kept = response.keep_alive
        self._end()

    def failed(self) -> None:
        """The request under way was not answered, because of an error of the gateway."""
        self._answer_fault(Rejection(INTERNAL_ERROR))
        self._is_kept = False
        self._end()

    # Called by the limits of a head

    def force_close(self) -> None:
        """Close without a response."""
        if self.transport is not None:
            self.transport.abort()

    def refuse_head(self, failure: Failure) -> None:
        """Reject an incomplete head."""
        self._answer_fault(Rejection(failure))

    # Called by the server

    def close(self) -> None:
        """Accept no more requests. The current exchange goes on to its end."""
        self._is_closing = True
        if not self._is_busy and self.transport is not None:
            self.transport.close()

    # Reading

    def _read(self, data: bytes) -> None:
        """Read the body under way and the next head; keep the rest. Raises `Malformed`.

        A head that comes later than the request before it is read at once: if it is malformed, it
        may be a body that the client framed in another way.
        """
        if self._following is not None or self._ahead or self._is_closing:
            self._keep(data)
            return
        if not self._reader.is_complete:
            size = self._reader.read_body(data, self._body)
            if size == len(data):
                return
            data = data[size:]
        if self.may_switch:
            self._keep(data)
            return
        size, self._following = self._reader.read_head(data)
        if size < len(data):
            self._keep(data[size:])
        elif self._following is None and not self._is_busy:
            self._head.took(size)

    def _keep(self, data: bytes) -> None:
        """Keep what came behind the next head until its turn."""
        self._ahead += data
        if len(self._ahead) > MAX_AHEAD:
            self.hold()

    def _next(self) -> ParsedRequest | None:
        """Returns the next request, if its head has come. Raises `Malformed`."""
        if self._following is None and self._ahead:
            self._read(self._take_ahead())
        head, self._following = self._following, None
        if head is None:
            return None
        self._head.end()
        self._body = RequestBody(self if head.has_body else None, is_chunked=head.is_chunked)
        if head.has_body and self._ahead:
            self._read(self._take_ahead())
        return ParsedRequest(head, self._body, self)

    def _take_ahead(self) -> bytes:
        """Returns what was kept, and reads again."""
        data, self._ahead = self._ahead, b""
        self.unhold()
        return data

    def _reject_malformed(self, fault: Malformed) -> None:
        if not self._is_busy:
            self._answer_fault(fault)
            return
        # What is malformed may be the body of the request under way.
        self._is_closing = True
        self._body.fail()
        if self.listener is not None:
            self.listener.client_malformed()

    # Requests, one after the other

    def _start(self) -> None:
        """Serve the requests that have come, as long as each is answered at once.

        Raises `Malformed`.
        """
        self._is_starting = True
        try:
            while not self._is_busy and not self._is_closing and (request := self._next()):
                self._is_busy = True
                self.task = self._serving.start(request)
        finally:
            self._is_starting = False
        if not self._is_busy and not self._is_closing:
            self._head.begin(KEEPALIVE_TIMEOUT)

    def _end(self) -> None:
        """End the request under way, once its response was taken and its body has come.

        To close on a body could cost the client the response.
        """
        if self.transport is None:
            return
        self.task = None
        body = self._body
        self._is_ending = self.writing_paused or body.is_awaited
        if self.writing_paused:
            return
        if body.is_awaited:
            if self._bound is None:
                self._bound = self.timer.loop.call_later(LINGERING_TIME, self.force_close)
                body.discard(self._end)
            return
        self._forget_bound()
        self._is_busy = False
        if self._is_closing or not self._is_kept or not body.is_complete:
            self.close()
        elif not self._is_starting:
            self._go_on()

    def _go_on(self) -> None:
        """Serve what has come behind the request that has ended."""
        try:
            self._start()
        except Malformed as fault:
            self._answer_fault(fault)

    def _answer_fault(self, rejection: Rejection) -> None:
        """Reject what is no request (RFC 9112 2.2), and log it."""
        exchange = Exchange("", "", request_id(None), "", self.address)
        exchange.reject(rejection)
        self.send(closing_response(rejection, exchange.request_id))
        self._serving.report(exchange)
        self.close()

    # Private

    def _forget_bound(self) -> None:
        if self._bound is not None:
            self._bound.cancel()
            self._bound = None

    def _forget_hangup(self) -> None:
        if self.transport is not None:
            self._serving.disconnects.forget(_descriptor(self.transport), self.reset)


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
