"""The open exchanges: admission, and their end when the gateway drains."""

import asyncio
from collections.abc import Iterator
from typing import Protocol

from gateway.http.errors import DRAINING, Rejection
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.report import Condition


class Stream(Protocol):
    """An exchange that was admitted, and can be ended."""

    def end(self, reason: EndReason) -> None:
        """End it now, for this reason."""

    def record(self) -> Exchange:
        """Returns the record of the exchange, up to date."""

    @property
    def condition(self) -> Condition:
        """What the exchange waits for."""

    def silence(self) -> float | None:
        """Seconds since a byte came from the upstream; None if no timeout records that."""


class ActiveExchanges:
    """The open exchanges of a process. It does no I/O."""

    def __init__(self) -> None:
        self._live: set[Stream] = set()
        self._nobody_left = asyncio.Event()
        self._nobody_left.set()
        self.is_closed = False
        self.is_draining = False

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._live)

    def records(self) -> list[Exchange]:
        """Returns the records of all open exchanges, up to date."""
        return [stream.record() for stream in self._live]

    def admit(self, stream: Stream) -> None:
        """Let an exchange begin. Raises Rejection DRAINING."""
        if self.is_closed:
            raise Rejection(DRAINING)
        self._live.add(stream)
        self._nobody_left.clear()

    def release(self, stream: Stream) -> None:
        """Remove an exchange that has ended. An exchange that was never admitted is ignored."""
        self._live.discard(stream)
        if not self._live:
            self._nobody_left.set()

    def leave(self) -> None:
        """Close each connection after its response, so that its client finds another gateway."""
        self.is_draining = True

    def close(self) -> None:
        """Admit no exchange from now on."""
        self.is_closed = True

    async def wait_empty(self, timeout: float) -> bool:  # noqa: ASYNC109 - no error
        """Wait until no exchange is open, `timeout` seconds at most. Returns whether none is."""
        try:
            async with asyncio.timeout(timeout):
                await self._nobody_left.wait()
        except TimeoutError:
            return False
        return True

    def end_all(self, reason: EndReason) -> None:
        """End every exchange now."""
        for stream in list(self._live):
            stream.end(reason)
