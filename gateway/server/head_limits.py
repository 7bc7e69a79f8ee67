"""Limits of a request head, in size and in time.

Without them a client could send heads without an end, or a byte at a time, and so hold memory and
connections.
"""

import asyncio
from typing import Protocol

from gateway.config.model import Limits
from gateway.http.errors import HEADERS_TOO_LARGE, REQUEST_TIMEOUT, Failure
from gateway.server.timer import NEVER, Timer


class Bounded(Protocol):
    """The connection that the limits apply to."""

    def force_close(self) -> None:
        """Close without a response, because nothing came in time."""

    def refuse_head(self, failure: Failure) -> None:
        """Reject an incomplete head. Called once."""


class HeadLimits:
    """Limits the heads on one connection, one after the other.

    Most heads come as a whole, and cost nothing here.
    """

    __slots__ = ("_bounded", "_due", "_limits", "_size", "_timer", "fault")

    def __init__(self, bounded: Bounded, limits: Limits, timer: Timer) -> None:
        self.fault: Failure | None = None  # why a head was rejected
        self._bounded = bounded
        self._limits = limits
        self._timer = timer
        self._size = 0
        self._due = NEVER

    def begin(self, seconds: float | None) -> None:
        """Expect a head within so many seconds, unless one is expected sooner."""
        if seconds is not None and self.fault is None:
            due = asyncio.get_running_loop().time() + seconds
            self._due = min(self._due, due)
            self._timer.listen(self._look)
            self._timer.set(self._due)

    def took(self, size: int) -> None:
        """Count so many bytes of an incomplete head, and measure its lines."""
        if self._size == 0 and size > 0:
            self.begin(self._limits.header_timeout)
        self._size += size
        if self._size > self._limits.max_header_size:
            self._refuse(HEADERS_TOO_LARGE)

    def end(self) -> None:
        """A head is complete. What comes while its request is served is not measured."""
        self._size, self._due = 0, NEVER

    def _look(self) -> None:
        """The timer has fired: close if nothing came, reject an incomplete head."""
        if asyncio.get_running_loop().time() < self._due:
            if self._due != NEVER:
                self._timer.set(self._due)
        elif self._size == 0:
            self._bounded.force_close()
        else:
            self._refuse(REQUEST_TIMEOUT)

    def _refuse(self, failure: Failure) -> None:
        if self.fault is None:
            self.fault, self._due = failure, NEVER
            self._bounded.refuse_head(failure)
