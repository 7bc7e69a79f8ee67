"""HTTP/1.1 as spoken to a service: one connection, one exchange at a time (RFC 9112).

The connection does no waiting: what the service sends is parsed by llhttp in `data_received` and
handed to a `Receiver` in the same callback.
"""

import asyncio
import select
from typing import cast

import httptools

from gateway.http.errors import UPSTREAM_BAD_RESPONSE
from gateway.http.response_parser import Receiver, ResponseReader


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
        self._reader = ResponseReader()
        self._is_request_sent = False
        self._is_clean = True
        self._saw_eof = False
        self._writable: asyncio.Future[None] | None = None
        self._is_write_paused = False
        self._kernel: select.poll | None = None

    # What the gateway does

    def start(self, head: bytes, receiver: Receiver, *, is_head: bool, has_body: bool) -> None:
        """Send a request head; what comes back goes to the receiver.

        `is_head` is whether the method is HEAD; without `has_body` the request ends here.
        """
        self._receiver = receiver
        self._reader.begin(receiver, is_head=is_head)
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

    def writable(self) -> asyncio.Future[None] | None:
        """What is done when the service takes bytes again, or is gone; None where it does now."""
        if self._is_write_paused and self.is_open:
            self._writable = asyncio.get_running_loop().create_future()
            return self._writable
        return None

    def pause_reading(self) -> None:
        """Stop reading from the service: its own writes will stall in turn."""
        if self._is_live:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._is_live:
            self._transport.resume_reading()

    def switch(self) -> None:
        """From now on let `writable` speak of every byte, however few wait.

        Not over TLS, where uvloop takes such a mark for one that is always reached; and where the
        connection ends only after the last byte anyhow.
        """
        if self._is_live and self._transport.can_write_eof():
            self._transport.set_write_buffer_limits(high=0)

    def unsent(self) -> int:
        """Bytes that the kernel has yet to take."""
        return self._transport.get_write_buffer_size() if self._is_live else 0

    def end_writing(self) -> None:
        """Send no more, and say so. TLS cannot say it of one direction: there it is a close."""
        if not self._is_live:
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    @property
    def is_reusable(self) -> bool:
        """Whether both sides of the last exchange ended cleanly, with nothing said beyond it."""
        reader = self._reader
        return (
            self.is_open
            and self._is_clean
            and self._is_request_sent
            and reader.is_complete
            and reader.keeps_alive
        )

    def rest(self) -> None:
        """Between two exchanges: whatever comes now is nobody's, and ends the connection."""
        self._receiver = None
        self._reader.rest()
        self.resume_reading()

    @property
    def is_fit(self) -> bool:
        """Whether nothing came since the last exchange, not even to the kernel.

        A service may close an idle connection, or send more than it should, at any time; what the
        event loop has not yet told of would cost the next request its answer.
        """
        if not self._is_live or not self._is_clean or self._saw_eof:
            return False
        if self._kernel is None:
            self._kernel = select.poll()
            self._kernel.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._kernel.poll(0)

    def abort(self) -> None:
        """Close at once: the service sees it, even when the stream is idle."""
        self._receiver = None
        self._reader.close()
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
        reader = self._reader
        if reader.is_complete:
            self._is_clean = False
            self._transport.abort()
            return
        try:
            reader.feed(data)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if reader.is_complete:
                self._is_clean = False
            else:
                self._fail(reader.rejection or str(error))
            return
        if reader.has_excess:
            self._is_clean = False
        elif reader.rejection:
            self._fail(reader.rejection)

    def eof_received(self) -> bool:
        """Called by the event loop, which closes the connection unless this is True."""
        self._saw_eof = True
        receiver = self._receiver
        return receiver is not None and receiver.ended() and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.is_open = False
        self.resume_writing()
        reader = self._reader
        if not reader.is_complete:
            if self._saw_eof and reader.ends_with_connection:
                reader.finish()
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
