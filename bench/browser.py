"""The browsers' end of the load: each event is checked."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import httptools

from bench.source import EVENT_SIZE, NUMBER, SENT_AT

AT_A_TIME = 50
HEAD_TIMEOUT = 20.0


def request(path: str) -> bytes:
    """What a browser sends for a stream."""
    return (f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n").encode()


class Browser(asyncio.Protocol):
    """The browser's end of one stream. Each event must be the next one, and whole.

    `began` is done when the head is there, `lost` when the connection is gone. `faults` counts what
    came wrong, and any early end.
    """

    def __init__(self, path: str, on_event: Callable[["Browser", int], None]) -> None:
        self.received = 0
        self.faults = 0
        self.transport: asyncio.Transport
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_left = False
        self._path = path
        self._on_event = on_event
        self._parser: Any = httptools.HttpResponseParser(self)
        self._partial = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(request(self._path))

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self._parser.get_status_code() != 200:  # noqa: PLR2004 - OK
            self.faults += 1
        if not self.began.done():
            self.began.set_result(None)

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if self._partial:
            data = self._partial + data
        for start in range(0, len(data) - EVENT_SIZE + 1, EVENT_SIZE):
            if int(data[start:][NUMBER]) != self.received:
                self.faults += 1
            self.received += 1
            self._on_event(self, int(data[start:][SENT_AT]))
        self._partial = data[len(data) - len(data) % EVENT_SIZE :]

    def connection_lost(self, _error: Exception | None) -> None:
        """Called by the event loop."""
        self._parser = None
        if not self.has_left:
            self.faults += 1
        if not self.began.done():
            self.began.set_result(None)
        if not self.lost.done():
            self.lost.set_result(None)

    def leave(self) -> None:
        """Close the connection, as a browser does whose page is gone."""
        self.has_left = True
        self.transport.abort()


def ignore(_browser: Browser, _sent_at: int) -> None:
    """Nothing is to be done with an event."""


async def open_stream(
    port: int, path: str = "/events", on_event: Callable[[Browser, int], None] = ignore
) -> Browser:
    """A browser whose stream has begun."""
    loop = asyncio.get_running_loop()
    _, browser = await loop.create_connection(lambda: Browser(path, on_event), "127.0.0.1", port)
    await asyncio.wait_for(browser.began, HEAD_TIMEOUT)
    return browser


async def open_streams(
    count: int, port: int, on_event: Callable[[Browser, int], None] = ignore
) -> list[Browser]:
    """Many browsers, whose streams have all begun."""
    browsers: list[Browser] = []
    while len(browsers) < count:
        some = min(AT_A_TIME, count - len(browsers))
        browsers += await asyncio.gather(
            *(open_stream(port, on_event=on_event) for _ in range(some))
        )
    return browsers


@contextlib.contextmanager
def leaving(browsers: list[Browser]) -> Iterator[None]:
    """Have all browsers leave at the end."""
    try:
        yield
    finally:
        for browser in browsers:
            browser.leave()
