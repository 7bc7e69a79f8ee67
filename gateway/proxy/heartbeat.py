"""A sign of life after each silence: the timer of one stream."""

import asyncio
from collections.abc import Callable


class Heartbeat:
    """Calls `beat` after `interval` seconds in which nothing was sent, and after as many again.

    One timer, which looks when it fires whether anything was sent meanwhile. What is sent is
    written down, and no more.
    """

    def __init__(self, interval: float, beat: Callable[[], None]) -> None:
        self._interval = interval
        self._beat = beat
        self._loop = asyncio.get_running_loop()
        self._sent = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._arm()

    def touch(self) -> None:
        """Something was sent: the silence begins anew."""
        self._sent = self._loop.time()

    def cancel(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._sent + self._interval, self._ring)

    def _ring(self) -> None:
        now = self._loop.time()
        if now >= self._sent + self._interval:
            self._sent = now
            self._beat()
        self._arm()
