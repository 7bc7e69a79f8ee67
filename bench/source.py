"""The service's end of the load: streams of events.

Both ends live in one process on one core, so that an event's way is timed by one clock. An event is
`EVENT_SIZE` bytes and carries its number in its stream and the time it was sent.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import cast

EVENT_SIZE = 120
NUMBER = slice(13, 23)
SENT_AT = slice(29, 49)
_PADDING = b"x" * (EVENT_SIZE - 61)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(number: int, sent_at: int) -> bytes:
    """An event as it stands in the stream; `sent_at` in nanoseconds."""
    return b'data: {"seq":%010d,"at":%020d,"pad":"%b"}\n\n' % (number, sent_at, _PADDING)


def chunk(data: bytes) -> bytes:
    """Data as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class StreamSource(asyncio.Protocol):
    """The service's end of one stream: it answers any request with a head, and is then driven."""

    def __init__(self, source: "Source") -> None:
        self._source = source
        self._request = b""
        self.path = ""
        self.transport: asyncio.Transport
        self.sent = 0
        self.is_writable = True
        self.on_writable: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._request += data
        if self._request.endswith(b"\r\n\r\n"):
            self.path = self._request.split(b" ", 2)[1].decode()
            self._request = b""
            self.sent = 0
            self.transport.write(_HEAD)
            self._source.began(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Called by the event loop."""
        self._source.live.discard(self)

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self.is_writable = True
        if self.on_writable is not None:
            self.on_writable()

    def send_event(self) -> None:
        """Send one event now."""
        self.transport.write(chunk(event(self.sent, time.monotonic_ns())))
        self.sent += 1

    def send_events(self, count: int) -> None:
        """Send some events now, all at once."""
        now = time.monotonic_ns()
        events = [chunk(event(number, now)) for number in range(self.sent, self.sent + count)]
        self.transport.write(b"".join(events))
        self.sent += count


class Source:
    """The service: `live` are the streams under way; `on_begin` drives a new one.

    A stream begins with an event, unless asked otherwise: some proxies keep a head until there is
    something to send with it.
    """

    def __init__(self) -> None:
        self.live: set[StreamSource] = set()
        self.on_begin: Callable[[StreamSource], None] = StreamSource.send_event
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        """Listen on a port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: StreamSource(self), "127.0.0.1", port, backlog=4096
        )

    def began(self, stream: StreamSource) -> None:
        """Take up a stream whose head was sent."""
        self.live.add(stream)
        self.on_begin(stream)

    def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for stream in list(self.live):
            stream.transport.abort()


@contextlib.asynccontextmanager
async def service(port: int) -> AsyncIterator[Source]:
    """A source of streams, at the port where the peers look for it."""
    source = Source()
    await source.start(port)
    try:
        yield source
    finally:
        source.stop()
