"""One HTTP/1.1 connection to an upstream, with one exchange at a time (RFC 9112).

The connection never waits. llhttp parses received bytes in `data_received`, and a `Receiver` gets
the result in the same callback.
"""

import asyncio
import select
from typing import cast

import httptools

from gateway.http.errors import UPSTREAM_BAD_RESPONSE
from gateway.http.response_parser import Receiver, ResponseReader


class Connection(asyncio.Protocol):
    """A connection to an upstream.

    After an exchange, `is_reusable` says whether another one may follow. After a rest, `is_fit`
    says whether it still may. `got_bytes` is whether the upstream sent anything in this exchange.
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

    # Called by the gateway

    def start(self, head: bytes, receiver: Receiver, *, is_head: bool, has_body: bool) -> None:
        """Send a request head; the response goes to the receiver.

        `is_head` is whether the method is HEAD. Without `has_body` the request ends here.
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
        """Record that the request body was sent as a whole."""
        self._is_request_sent = True

    def writable(self) -> asyncio.Future[None] | None:
        """Returns what is done once the upstream takes bytes or is gone; None if it takes them."""
        if self._is_write_paused and self.is_open:
            self._writable = asyncio.get_running_loop().create_future()
            return self._writable
        return None

    def pause_reading(self) -> None:
        """Stop reading from the upstream, so that its own writes stall."""
        if self._is_live:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._is_live:
            self._transport.resume_reading()

    def switch(self) -> None:
        """From now on let `writable` wait for every byte, however few.

        This does not work over TLS: uvloop would take such a mark as always reached, and the
        connection ends only after the last byte anyway.
        """
        if self._is_live and self._transport.can_write_eof():
            self._transport.set_write_buffer_limits(high=0)

    def unsent(self) -> int:
        """Returns the bytes that the kernel has not yet taken."""
        return self._transport.get_write_buffer_size() if self._is_live else 0

    def end_writing(self) -> None:
        """Send no more, and signal that. TLS cannot close one direction, so that it closes both."""
        if not self._is_live:
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    @property
    def is_reusable(self) -> bool:
        """Whether both sides of the last exchange ended cleanly, with no bytes beyond it."""
        reader = self._reader
        return (
            self.is_open
            and self._is_clean
            and self._is_request_sent
            and reader.is_complete
            and reader.keeps_alive
        )

    def rest(self) -> None:
        """Rest between two exchanges: whatever comes now ends the connection."""
        self._receiver = None
        self._reader.rest()
        self.resume_reading()

    @property
    def is_fit(self) -> bool:
        """Whether nothing came since the last exchange, not even to the kernel.

        An upstream may close an idle connection, or send too much, at any time. What the event loop
        has not read yet would cost the next request its response.
        """
        if not self._is_live or not self._is_clean or self._saw_eof:
            return False
        if self._kernel is None:
            self._kernel = select.poll()
            self._kernel.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._kernel.poll(0)

    def abort(self) -> None:
        """Close at once: the upstream sees it, also while the stream is silent."""
        self._receiver = None
        self._reader.close()
        if self.is_open:
            self._transport.abort()

    # Called by the transport

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
        """Whether the transport may still be used: that of uvloop raises once it is closing."""
        return self.is_open and not self._transport.is_closing()

    def _fail(self, why: str) -> None:
        receiver, self._receiver = self._receiver, None
        self._is_clean = False
        if self.is_open:
            self._transport.abort()
        if receiver is not None:
            receiver.broken(UPSTREAM_BAD_RESPONSE, why)
