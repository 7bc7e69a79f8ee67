"""The bounds in time of one exchange: all of it, the service's silence, the browser's."""

import asyncio
from typing import Protocol

from gateway.config.model import Timeouts
from gateway.server.timer import NEVER, Timer

CLIENT_CHECK = 1.0  # seconds between two looks at an upload that nothing bounds


class Bounded(Protocol):
    """What the deadlines are for. Each of the three methods ends it."""

    @property
    def awaits_client(self) -> bool:
        """Whether it is for the browser to send: then a silence is not the service's."""

    def unsent(self) -> int:
        """Bytes that the browser has yet to take."""

    def out_of_time(self) -> None:
        """The whole exchange took too long."""

    def fell_silent(self) -> None:
        """The service sent nothing for too long, or the browser did that owes a body."""

    def took_nothing(self) -> None:
        """The browser took nothing for too long, while bytes waited for it."""


class Deadlines:
    """One alarm for all bounds.

    When it rings they look which of them ran out, if any, and wait for the next to do so. A byte
    that moves is written down, and no more.
    """

    def __init__(self, bounded: Bounded, timeouts: Timeouts, timer: Timer) -> None:
        self._bounded = bounded
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._started = self._moved = self._loop.time()
        self._total_due = NEVER
        self._is_total_watched = True
        self._silence_bound: float | None = None
        self._is_browser_awaited = False
        self._client_due = NEVER
        self._unsent = 0
        self._timer = timer
        timer.listen(self._ring)
        self._bound_total(timeouts.total)

    def seconds_left(self) -> float | None:
        """What is left of the whole exchange's time; None without a bound."""
        if self._total_due == NEVER:
            return None
        return max(0.0, self._total_due - self._loop.time())

    def touch(self) -> None:
        """A byte moved: the wait for the next begins anew, where there is a bound for it."""
        if self._silence_bound is not None:
            self._moved = self._loop.time()

    def silence(self) -> float | None:
        """Seconds since the last byte moved; None where no bound has that written down."""
        return None if self._silence_bound is None else self._loop.time() - self._moved

    def await_head(self) -> None:
        """From now on a response head is expected."""
        self._bound_silence(self._timeouts.first_byte)

    def await_body(self, *, is_stream: bool) -> None:
        """The head came: from now on a body is expected, under the bounds for its kind."""
        bounds = self._timeouts
        self._bound_silence(bounds.stream_idle if is_stream else bounds.idle)
        if self._due() == NEVER:
            self._timer.silence()  # such a stream may go on for hours

    def await_client(self) -> None:
        """Bytes wait for the browser; the service is not asked for more meanwhile."""
        self._is_browser_awaited = True
        self._client_due = NEVER
        if self._timeouts.send is not None:
            # After this callback: the bytes still to be written now do not count as taken.
            self._loop.call_soon(self._watch_client)

    def client_took(self) -> None:
        """The browser took what waited: it is the service's turn again."""
        self._is_browser_awaited = False
        self._client_due = NEVER
        self._bound_silence(self._silence_bound)

    def forget_upstream(self) -> None:
        """The service has said all it had to say."""
        self._silence_bound = None

    def cancel(self) -> None:
        """Bound nothing any more."""
        self._is_total_watched = self._is_browser_awaited = False
        self._client_due = NEVER
        self._silence_bound = None
        self._timer.ignore()

    def _bound_total(self, bound: float | None) -> None:
        self._total_due = NEVER if bound is None else self._started + bound
        self._arm()

    def _bound_silence(self, bound: float | None) -> None:
        self._silence_bound = bound
        self.touch()
        self._arm()

    def _watch_client(self) -> None:
        """Look what the browser has yet to take, and look again after its time."""
        if self._is_browser_awaited and self._timeouts.send is not None:
            self._unsent = self._bounded.unsent()
            self._client_due = self._loop.time() + self._timeouts.send
            self._arm()

    def _due(self) -> float:
        """When the first of the bounds runs out."""
        due = min(self._client_due, self._total_due if self._is_total_watched else NEVER)
        if self._silence_bound is None or self._is_browser_awaited:
            return due
        return min(due, self._moved + self._silence_bound)

    def _arm(self) -> None:
        self._timer.set(self._due())

    def _ring(self) -> None:
        now = self._loop.time()
        if self._is_total_watched and self._total_due <= now:
            self._is_total_watched = False
            self._bounded.out_of_time()
        elif self._client_due <= now:
            self._check_client()
        elif self._silence_bound is not None and not self._is_browser_awaited:
            self._check_silence(now)
        else:
            self._arm()

    def _check_client(self) -> None:
        if self._bounded.unsent() < self._unsent:
            self._watch_client()
        else:
            self._bounded.took_nothing()

    def _check_silence(self, now: float) -> None:
        """Whose turn it is may have changed since the alarm was set: with it the bound does."""
        bound = self._timeouts.send if self._bounded.awaits_client else self._silence_bound
        due = now + CLIENT_CHECK if bound is None else self._moved + bound
        if due <= now:
            self._bounded.fell_silent()
        else:
            self._timer.set(min(due, self._total_due) if self._is_total_watched else due)
