"""A timer that the exchanges on one connection share."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

NEVER: Final = inf


class Timer:
    """One-shot timer. It may fire early: the listener checks its own deadline and sets it again.

    Creating and cancelling a timer of the event loop costs more than all the rest of a bound. So a
    timer that would fire too early is left alone, also when an exchange ends.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._listener: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = NEVER

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this listener from now on."""
        self._listener = listener

    def ignore(self) -> None:
        """Call no listener from now on."""
        self._listener = None

    def set(self, due: float) -> None:
        """Fire at this time of the loop's clock at the latest."""
        if due < self._due:
            self.silence()
            self._due = due
            self._timer = self.loop.call_at(due, self._ring)

    def silence(self) -> None:
        """Do not fire until it is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._due = None, NEVER

    def _ring(self) -> None:
        self._timer, self._due = None, NEVER
        if self._listener is not None:
            self._listener()
