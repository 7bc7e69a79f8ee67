"""The body of a request, as far as it has come, under backpressure."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.http.request_parser import BodyReceiver

# Bytes that wait to be read. Over this the connection is not read from until they are.
HIGH_WATER = 64 * 1024


class Source(Protocol):
    """The connection that a body comes from."""

    def hold(self) -> None:
        """Read no more from the client."""

    def unhold(self) -> None:
        """Read again."""


class RequestBody(BodyReceiver):
    """Holds the bytes of a body until they are read.

    Those of a chunked body keep their chunks. `size` counts the bytes within.
    """

    def __init__(self, source: Source | None, *, is_chunked: bool) -> None:
        """Without a source there is no body."""
        self.is_chunked = is_chunked
        self.is_complete = source is None
        self.size = 0
        self._source = source
        self._held: list[bytes] = []
        self._held_size = 0
        self._is_paused = False
        self._is_malformed = False
        self._waiter: asyncio.Future[None] | None = None
        self._ended: Callable[[], None] | None = None

    @property
    def is_read(self) -> bool:
        """Whether the whole body has come and was read."""
        return self.is_complete and not self._held

    @property
    def is_awaited(self) -> bool:
        """Whether more of the body may come."""
        return not self.is_complete and not self._is_malformed

    def waiting(self) -> asyncio.Future[None] | None:
        """Returns what is done once there is something to take; None if there is.

        Raises ConnectionError if the rest is malformed. The connection cancels its exchange if the
        client leaves.
        """
        if self._held or self.is_complete:
            return None
        if self._is_malformed:
            raise ConnectionError("the body is malformed")
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def take(self) -> bytes:
        """Returns the bytes that have come since the last call; after the wait, none at the end."""
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held, self._held_size = [], 0
        if self._is_paused and self._source is not None:
            self._is_paused = False
            self._source.unhold()
        return data

    def discard(self, ended: Callable[[], None]) -> None:
        """Take no more of the body, and call back at its end."""
        self._ended = ended
        self.take()

    # Called by the connection

    def body(self, data: bytes) -> None:
        """Receives bytes of the body, without framing."""
        self.size += len(data)
        self._hold(data)

    def chunks(self, data: bytes, payload: int) -> None:
        """Receives whole or partial chunks as they came; `payload` counts the bytes within."""
        self.size += payload
        self._hold(data)

    def body_complete(self) -> None:
        """The whole body has come."""
        self.is_complete = True
        self._wake()
        self._call_back()

    def fail(self) -> None:
        """The rest of the body, or what came behind it, is malformed."""
        self._is_malformed = True
        self._wake()
        self._call_back()

    def _hold(self, data: bytes) -> None:
        if self._ended is not None:
            return
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > HIGH_WATER and not self._is_paused and self._source is not None:
            self._is_paused = True
            self._source.hold()
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _call_back(self) -> None:
        if self._ended is not None:
            self._ended()
