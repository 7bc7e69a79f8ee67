"""A timer that one exchange on a connection leaves to the next."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

NEVER: Final = inf


class Timer:
    """Rings once, at the time it is set for or before: whoever set it looks whether it is due.

    To ask the loop for a timer, and to take it back, costs more than all else about a bound. So a
    timer that would ring too early is left alone, also when an exchange ends, which then nobody
    hears.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = NEVER

    def listen(self, listener: Callable[[], None]) -> None:
        """Say who is called when it rings, from now on."""
        self._listener = listener

    def ignore(self) -> None:
        """Call nobody from now on."""
        self._listener = None

    def set(self, due: float) -> None:
        """Ring at this time, of the loop's clock, at the latest."""
        if due < self._due:
            self.silence()
            self._due = due
            self._timer = self._loop.call_at(due, self._ring)

    def silence(self) -> None:
        """Do not ring, until it is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._due = None, NEVER

    def _ring(self) -> None:
        self._timer, self._due = None, NEVER
        if self._listener is not None:
            self._listener()
