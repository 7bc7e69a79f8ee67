"""Who is being served now: admission, and the end of them all when the gateway drains."""

import asyncio
from collections.abc import Iterator
from typing import Protocol

from gateway.http.errors import DRAINING, Rejection
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.report import Condition


class Stream(Protocol):
    """An exchange that was admitted, and can be told to end."""

    def end(self, reason: EndReason) -> None:
        """End it now, for this reason."""

    def record(self) -> Exchange:
        """What is known of it by now."""

    @property
    def condition(self) -> Condition:
        """What it waits for."""

    def silence(self) -> float | None:
        """Seconds since a byte came from the service; None where nobody writes that down."""


class ActiveExchanges:
    """The exchanges under way. Without I/O of its own."""

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
        """What is known by now of each."""
        return [stream.record() for stream in self._live]

    def admit(self, stream: Stream) -> None:
        """Let an exchange begin, or raise `Rejection` where none may any more."""
        if self.is_closed:
            raise Rejection(DRAINING)
        self._live.add(stream)
        self._nobody_left.clear()

    def release(self, stream: Stream) -> None:
        """Forget an exchange that ended. One that was never admitted is no fault."""
        self._live.discard(stream)
        if not self._live:
            self._nobody_left.set()

    def leave(self) -> None:
        """Let each connection go after its response: its client is to find another gateway."""
        self.is_draining = True

    def close(self) -> None:
        """Admit nobody from now on."""
        self.is_closed = True

    async def wait_empty(self, timeout: float) -> bool:  # noqa: ASYNC109 - a bound, told at the end
        """Wait until nobody is left, `timeout` seconds at most; True when nobody is."""
        try:
            async with asyncio.timeout(timeout):
                await self._nobody_left.wait()
        except TimeoutError:
            return False
        return True

    def end_all(self, reason: EndReason) -> None:
        """Tell every exchange to end now."""
        for stream in list(self._live):
            stream.end(reason)
