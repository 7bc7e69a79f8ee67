"""Bytes from a service to a browser, with backpressure and deadlines.

All of it happens in callbacks: what the service's connection receives is written to the browser's
transport in the same call, without a task being woken. The handler waits for one future alone.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from enum import Enum
from http.client import responses

from gateway.accept import BrowserConnection
from gateway.account import EndReason, Exchange
from gateway.config import Timeouts
from gateway.errors import BAD_REQUEST, DRAINING, UPSTREAM_TIMEOUT, Failure, Refusal
from gateway.headers import end_to_end, serialize, trailers
from gateway.heads import Framing, Reply, informational_head, is_event_stream, response_head
from gateway.http1 import Connection, ResponseHead

CONTINUE = 100
CLIENT_CHECK = 1.0  # seconds between two looks at an upload that nothing bounds
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, with no time to linger


class _State(Enum):
    RELAYING = "relaying"  # until the service ends the body, or the gateway does
    FLUSHING = "flushing"  # until the browser has taken what is left
    ENDED = "ended"


class Pipe:
    """One response on its way. It is the `Receiver` of a service's connection.

    Until the head is out an end is a `refusal`, which the handler answers. After that the only
    honest failure is a cut: the connection closes without the mark of a complete body.
    """

    def __init__(
        self, browser: BrowserConnection, exchange: Exchange, reply: Reply, timeouts: Timeouts
    ) -> None:
        if browser.transport is None:
            raise asyncio.CancelledError  # the browser left before its turn came
        self.refusal: Refusal | None = None
        self.was_stale = False
        self.keep_alive = reply.keep_alive
        self.is_client_awaited = False
        self._browser = browser
        self._transport: asyncio.Transport = browser.transport
        self._exchange = exchange
        self._reply = reply
        self._framing: Framing | None = None
        self._connection: Connection | None = None
        self._ended: asyncio.Future[None] | None = None
        self._is_repeatable = False
        self._deadlines = _Deadlines(self, timeouts)
        self._state = _State.RELAYING
        self._is_cut = False
        browser.flow = self

    # The handler's side

    @property
    def has_started(self) -> bool:
        """Whether the response head is out."""
        return self._framing is not None

    def seconds_left(self, bound: float | None) -> float | None:
        """The shorter of a bound and what is left of the whole exchange's."""
        left = self._deadlines.seconds_left()
        return left if bound is None else bound if left is None else min(bound, left)

    def attach(self, connection: Connection, *, is_repeatable: bool) -> asyncio.Future[None]:
        """Take what this connection sends, and expect a response head from now on.

        What comes back is done when all is over. Where `is_repeatable`, a connection that turns
        out to be closed is not an end but `was_stale`, and another may be attached.
        """
        self._connection = connection
        self._is_repeatable = is_repeatable
        self.was_stale = False
        self._ended = asyncio.get_running_loop().create_future()
        if self._state is _State.ENDED:
            self._ended.set_result(None)
        else:
            self._deadlines.await_head()
        return self._ended

    def touch(self) -> None:
        """Tell that a byte moved upstream: the wait for a response begins anew."""
        self._deadlines.touch()

    def close(self) -> None:
        """Stop all timers and let go of the browser, however it ended."""
        self._state = _State.ENDED
        self._deadlines.cancel()
        self._browser.flow = None

    def end(self, reason: EndReason, failure: Failure = DRAINING, why: str = "") -> None:
        """End it before its time: as a refusal where that is still possible, else as a cut."""
        if self._state is _State.ENDED:
            return
        self._exchange.end_reason, self._exchange.error = reason, why
        if not self.has_started:
            self.refusal = Refusal(failure, reason=why)
            self._finish()
            return
        self.keep_alive = False
        self._is_cut = True
        if self._state is _State.FLUSHING or self._browser.writing_paused:
            self._reset()  # what the browser has not taken by now, it is not waited for
            self._finish()
        else:
            self._flush()

    def refuse(self, refusal: Refusal) -> None:
        """End it with an answer of the gateway's own, or as a cut where it is too late."""
        if self.has_started:
            self.end(EndReason.REFUSED)
        elif self._state is _State.RELAYING:
            self.refusal = refusal
            self._finish()

    # The service's side: `http1.Receiver`

    def informational(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Pass on a 1xx that the browser can read; 100 only where it was asked for."""
        if self._state is not _State.RELAYING or not self._reply.is_http_11:
            return
        if status == CONTINUE and not self._reply.expects_continue:
            return
        reason = responses.get(status, "")
        self._write(informational_head(status, reason.encode(), end_to_end(headers)))

    def head(self, head: ResponseHead) -> None:
        """Send the response head on."""
        if self._state is not _State.RELAYING:
            return
        exchange = self._exchange
        exchange.status = head.status
        exchange.mark_first_byte()
        if not self._reply.is_http_11 and head.has_body and not head.has_length:
            self.keep_alive = False
        data, self._framing = response_head(head, self._reply, is_closing=not self.keep_alive)
        self._deadlines.await_body(is_event_stream=is_event_stream(head))
        self._write(data)

    def body(self, data: bytes) -> None:
        """Send bytes of the body on, at once."""
        if self._state is not _State.RELAYING:
            return
        self._deadlines.touch()
        self._exchange.bytes_out += len(data)
        if self._framing is Framing.CHUNKED:
            self._write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._write(data)

    def complete(self, trailers_: list[tuple[bytes, bytes]]) -> None:
        """End the body as the service did, and be done when the browser has it all."""
        if self._state is not _State.RELAYING:
            return
        if self._framing is Framing.CHUNKED:
            self._write(b"0\r\n%b\r\n" % serialize(trailers(trailers_)))
        self._flush()

    def broken(self, failure: Failure, why: str) -> None:
        """The service is gone, or talks nonsense."""
        if self._state is not _State.RELAYING:
            return
        connection = self._connection
        if self._is_repeatable and connection is not None and not connection.got_bytes:
            self.was_stale = True
            self._tell()
            return
        self.end(EndReason.UPSTREAM_CLOSED, failure, why)

    # The browser's side: `accept.Flow`

    def pause(self) -> None:
        """The browser takes no more for now: neither do we."""
        if self._connection is not None and self._state is _State.RELAYING:
            self._connection.pause_reading()
        self._deadlines.await_browser()

    def resume(self) -> None:
        """The browser takes bytes again."""
        self._deadlines.browser_took()
        if self._state is _State.FLUSHING:
            self._finish()
        elif self._connection is not None:
            self._connection.resume_reading()

    def unsent(self) -> int:
        """Bytes that the browser's side has not acknowledged, the kernel's among them."""
        if self._transport.is_closing():
            return 0
        sock = self._transport.get_extra_info("socket")
        packed = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        queued: int = struct.unpack("i", packed)[0]
        return queued + self._transport.get_write_buffer_size()

    def stall(self) -> None:
        """Give up on a browser that takes nothing."""
        self._exchange.end_reason = EndReason.CLIENT_STALLED
        self.keep_alive = False
        self._reset()
        self._finish()

    # Inside

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _flush(self) -> None:
        """Finish when the last byte has left: a mark of zero makes the transport tell."""
        self._state = _State.FLUSHING
        if self._transport.is_closing() or self._transport.get_write_buffer_size() == 0:
            self._finish()
            return
        self._transport.set_write_buffer_limits(high=0)
        self._deadlines.await_browser()

    def _finish(self) -> None:
        self._state = _State.ENDED
        self._deadlines.cancel()
        if self.refusal is None:
            self._exchange.end(EndReason.COMPLETE)
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits()
            if self._is_cut and self._framing is Framing.UNTIL_CLOSE:
                # An orderly close would say that the body is whole.
                self._reset()
        self._tell()

    def _tell(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _reset(self) -> None:
        if not self._transport.is_closing():
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._transport.abort()


class _Deadlines:
    """The bounds of one exchange. A timer that fires early looks when the last byte moved."""

    def __init__(self, pipe: Pipe, timeouts: Timeouts) -> None:
        self._pipe = pipe
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._started = self._moved = self._loop.time()
        self._silence_bound: float | None = None
        self._total_bound: float | None = None
        self._silence: asyncio.Handle | None = None
        self._total: asyncio.Handle | None = None
        self._browser: asyncio.Handle | None = None
        self._unsent = 0
        self._bound_total(timeouts.total)

    def seconds_left(self) -> float | None:
        if self._total_bound is None:
            return None
        return max(0.0, self._started + self._total_bound - self._loop.time())

    def touch(self) -> None:
        self._moved = self._loop.time()

    def await_head(self) -> None:
        self._bound_silence(self._timeouts.first_byte)

    def await_body(self, *, is_event_stream: bool) -> None:
        bounds = self._timeouts
        if is_event_stream:
            self._bound_total(bounds.stream_total)
        self._bound_silence(bounds.stream_idle if is_event_stream else bounds.idle)

    def await_browser(self) -> None:
        _cancel(self._silence)
        _cancel(self._browser)
        self._browser = None
        if self._timeouts.send is not None:
            # After this callback: the bytes still to be written now do not count as taken.
            self._browser = self._loop.call_soon(self._watch_browser)

    def browser_took(self) -> None:
        _cancel(self._browser)
        self._browser = None
        self._bound_silence(self._silence_bound)

    def cancel(self) -> None:
        for handle in (self._silence, self._total, self._browser):
            _cancel(handle)

    def _bound_total(self, bound: float | None) -> None:
        _cancel(self._total)
        self._total_bound = bound
        if bound is not None:
            self._total = self._loop.call_at(self._started + bound, self._out_of_time)

    def _out_of_time(self) -> None:
        self._pipe.end(EndReason.TOTAL_TIMEOUT, UPSTREAM_TIMEOUT, "timeout")

    def _bound_silence(self, bound: float | None) -> None:
        _cancel(self._silence)
        self._silence_bound = bound
        self.touch()
        if bound is not None:
            self._silence = self._loop.call_later(bound, self._watch_silence)

    def _watch_silence(self) -> None:
        # A service that waits for the rest of a request is not the one that is silent.
        is_clients = self._pipe.is_client_awaited and not self._pipe.has_started
        bound = self._timeouts.send if is_clients else self._silence_bound
        if bound is None:
            self._silence = self._loop.call_later(CLIENT_CHECK, self._watch_silence)
            return
        due = self._moved + bound
        if self._loop.time() < due:
            self._silence = self._loop.call_at(due, self._watch_silence)
        elif is_clients:
            self._pipe.refuse(Refusal(BAD_REQUEST, "The request body stopped coming."))
        elif self._pipe.has_started:
            self._pipe.end(EndReason.UPSTREAM_TIMEOUT, UPSTREAM_TIMEOUT, "idle_timeout")
        else:
            self._pipe.end(EndReason.UPSTREAM_TIMEOUT, UPSTREAM_TIMEOUT, "first_byte_timeout")

    def _watch_browser(self) -> None:
        self._unsent = self._pipe.unsent()
        self._browser = self._loop.call_later(self._timeouts.send or 0.0, self._check_browser)

    def _check_browser(self) -> None:
        if self._pipe.unsent() < self._unsent:
            self._watch_browser()
        else:
            self._pipe.stall()


def _cancel(handle: asyncio.Handle | None) -> None:
    if handle is not None:
        handle.cancel()
