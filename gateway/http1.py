"""HTTP/1.1 as spoken to a service: one connection, one exchange at a time (RFC 9112).

The connection does no waiting: what the service sends is parsed by llhttp in `data_received` and
handed to a `Receiver` in the same callback.
"""

import asyncio
import select
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from gateway.errors import UPSTREAM_BAD_RESPONSE, Failure
from gateway.headers import first, values

MAX_HEAD = 64 * 1024
MAX_HEADERS = 256
MAX_FRAMING = 64 * 1024  # between two bytes of a body: chunk extensions, trailers
NO_BODY_STATUSES = (204, 304)
CONTINUE = 100
SWITCHING_PROTOCOLS = 101
FIRST_FINAL_STATUS = 200


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A final response head. `has_body` is False where RFC 9112 6.3 rules a body out."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    has_body: bool
    has_length: bool


class Receiver(Protocol):
    """What takes a response as it comes. Exactly one of `complete` and `broken` is called last."""

    def informational(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """A 1xx response other than 101."""

    def head(self, head: ResponseHead) -> None:
        """The final response head, before any byte of its body."""

    def body(self, data: bytes) -> None:
        """Bytes of the body, without the service's own framing."""

    def complete(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The whole response came."""

    def broken(self, failure: Failure, why: str) -> None:
        """No more comes, and it was not all."""


class Connection(asyncio.Protocol):
    """A connection to a service.

    `is_reusable` tells after an exchange whether another may follow on it, and `is_fit` after a
    rest whether it still may. `got_bytes` is whether the service sent anything in this exchange.
    """

    def __init__(self) -> None:
        self.got_bytes = False
        self.is_open = False
        self._transport: asyncio.Transport
        self._receiver: Receiver | None = None
        self._response: _Response | None = None
        self._is_request_sent = False
        self._is_clean = True
        self._saw_eof = False
        self._writable: asyncio.Future[None] | None = None
        self._is_write_paused = False

    # What the gateway does

    def start(self, head: bytes, receiver: Receiver, *, is_head: bool, has_body: bool) -> None:
        """Send a request head; what comes back goes to the receiver.

        `is_head` is whether the method is HEAD; without `has_body` the request ends here.
        """
        self._receiver = receiver
        self._response = _Response(receiver, is_head=is_head)
        self.got_bytes = False
        self._is_request_sent = not has_body
        self._transport.write(head)

    def write(self, data: bytes) -> None:
        """Send bytes of the request body, framed already."""
        if self._is_live:
            self._transport.write(data)

    def finish_request(self) -> None:
        """Say that the request body was sent whole."""
        self._is_request_sent = True

    async def writable(self) -> None:
        """Wait until the service takes bytes again, or is gone."""
        if self._is_write_paused and self.is_open:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable

    def pause_reading(self) -> None:
        """Stop reading from the service: its own writes will stall in turn."""
        if self._is_live:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._is_live:
            self._transport.resume_reading()

    @property
    def is_reusable(self) -> bool:
        """Whether both sides of the last exchange ended cleanly, with nothing said beyond it."""
        response = self._response
        return (
            self.is_open
            and self._is_clean
            and self._is_request_sent
            and response is not None
            and response.is_complete
            and response.keeps_alive
        )

    def rest(self) -> None:
        """Between two exchanges: whatever comes now is nobody's, and ends the connection."""
        self._receiver = None
        self._response = None
        self.resume_reading()

    @property
    def is_fit(self) -> bool:
        """Whether nothing came since the last exchange, not even to the kernel.

        A service may close an idle connection, or send more than it should, at any time; what the
        event loop has not yet told of would cost the next request its answer.
        """
        if not self._is_live or not self._is_clean or self._saw_eof:
            return False
        kernel = select.poll()
        kernel.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not kernel.poll(0)

    def abort(self) -> None:
        """Close at once: the service sees it, even when the stream is idle."""
        self._receiver = None
        if self.is_open:
            self._transport.abort()

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self.got_bytes = True
        response = self._response
        if response is None or response.is_complete:
            self._is_clean = False
            self._transport.abort()
            return
        try:
            response.feed(data)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if response.is_complete:
                self._is_clean = False
            else:
                self._fail(response.refusal or str(error))
            return
        if response.has_excess:
            self._is_clean = False
        elif response.refusal:
            self._fail(response.refusal)

    def eof_received(self) -> None:
        """Called by the event loop, which then closes the connection."""
        self._saw_eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.is_open = False
        self.resume_writing()
        response = self._response
        if response is not None and not response.is_complete:
            if self._saw_eof and response.ends_with_connection:
                response.finish()
            else:
                self._fail(f"it closed the connection too early ({exc or 'end of file'})")

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._is_write_paused = True

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._is_write_paused = False
        waiter, self._writable = self._writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def _is_live(self) -> bool:
        """Whether the transport may still be used: uvloop's raises once it is closing."""
        return self.is_open and not self._transport.is_closing()

    def _fail(self, why: str) -> None:
        receiver, self._receiver = self._receiver, None
        self._is_clean = False
        if self.is_open:
            self._transport.abort()
        if receiver is not None:
            receiver.broken(UPSTREAM_BAD_RESPONSE, why)


class _Response:
    """One response as llhttp reads it: strict, no leniency is on. `on_*` are its callbacks."""

    def __init__(self, receiver: Receiver, *, is_head: bool) -> None:
        self.is_complete = False
        self.has_excess = False
        self.keeps_alive = False
        self.ends_with_connection = False
        self.refusal = ""
        self._receiver = receiver
        self._is_head = is_head
        self._is_in_head = True
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._framing_size = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._framing_size += len(data)
        self._parser.feed_data(data)
        if self._framing_size > MAX_FRAMING and not self.is_complete:
            self._refuse(f"it sent over {MAX_FRAMING} bytes of framing without a byte of body")

    def finish(self) -> None:
        self.is_complete = True
        self._receiver.complete(self._headers)

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.has_excess = True
        self._headers = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp reads values without the spaces after them, but gives them with. Tabs it takes
        # for part of the value: so must we, or our reading of the framing would not be its own.
        value = value.rstrip(b" ")
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD or len(self._headers) == MAX_HEADERS:
            self._refuse(f"its headers are over {MAX_HEAD} bytes or {MAX_HEADERS} lines")
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.is_complete or self.refusal:
            return
        if self._parser.get_http_version() not in {"1.0", "1.1"}:
            self._refuse("it answered in another version of HTTP than 1.x")
            return
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, []  # what is gathered from here on is trailers
        if status < CONTINUE:
            self._refuse("its status is under 100")
            return
        if status < FIRST_FINAL_STATUS:
            if status == SWITCHING_PROTOCOLS:
                self._refuse("it switched protocols, which nobody asked for")
            else:
                self._receiver.informational(status, headers)
            return
        self._is_in_head = False
        codings = values(headers, b"transfer-encoding")
        if codings and [coding.lower() for coding in codings] != [b"chunked"]:
            self._refuse("it used a transfer coding other than chunked, which nobody asked for")
            return
        self._start(status, headers, is_chunked=bool(codings))

    def _start(self, status: int, headers: list[tuple[bytes, bytes]], *, is_chunked: bool) -> None:
        has_body = not self._is_head and status not in NO_BODY_STATUSES
        has_length = first(headers, b"content-length") is not None
        self.ends_with_connection = has_body and not has_length and not is_chunked
        self.keeps_alive = not self.ends_with_connection and self._parser.should_keep_alive()
        self._receiver.head(ResponseHead(status, self._reason, headers, has_body, has_length))
        if not has_body:
            self.finish()

    def on_body(self, data: bytes) -> None:
        if self.is_complete:
            self.has_excess = True
        elif not self.refusal:
            self._framing_size = 0
            self._receiver.body(data)

    def on_message_complete(self) -> None:
        if not self._is_in_head and not self.is_complete and not self.refusal:
            self.finish()

    def _refuse(self, why: str) -> None:
        self.refusal = self.refusal or why
