"""The timer for the heartbeats of one event stream."""

import asyncio
from collections.abc import Callable


class Heartbeat:
    """Calls `beat` after each `interval` seconds in which nothing was sent.

    There is one timer. When it fires, it checks whether anything was sent meanwhile. Sending only
    updates a time.
    """

    def __init__(self, interval: float, beat: Callable[[], None]) -> None:
        self._interval = interval
        self._send_heartbeat = beat
        self._loop = asyncio.get_running_loop()
        self._sent = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._arm()

    def touch(self) -> None:
        """Something was sent: the silence begins again."""
        self._sent = self._loop.time()

    def cancel(self) -> None:
        """Stop the heartbeats."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._sent + self._interval, self._ring)

    def _ring(self) -> None:
        now = self._loop.time()
        if now >= self._sent + self._interval:
            self._sent = now
            self._send_heartbeat()
        self._arm()
