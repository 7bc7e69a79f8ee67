"""The timeouts of one exchange: its total time, the silence of the upstream, the client's stall."""

import asyncio
from typing import Protocol

from gateway.config.model import Timeouts
from gateway.server.timer import NEVER, Timer

CLIENT_CHECK = 1.0  # seconds between two checks of an upload that has no timeout


class Bounded(Protocol):
    """What the deadlines apply to. Each of the three methods ends it."""

    @property
    def awaits_client(self) -> bool:
        """Whether the client has to send: then a silence is not the upstream's."""

    def unsent(self) -> int:
        """Returns the bytes that the client has not taken."""

    def total_timed_out(self) -> None:
        """The whole exchange took too long."""

    def idle_timed_out(self) -> None:
        """The upstream sent nothing for too long, or a client that owes a body did."""

    def send_timed_out(self) -> None:
        """The client took nothing for too long, while bytes waited for it."""


class Deadlines:
    """All timeouts of an exchange, with one timer.

    When the timer fires, the first timeout that has passed ends the exchange; otherwise the timer
    is set again. A byte that moves only updates a time.
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
        """The time left of the whole exchange, in seconds; None without a limit."""
        if self._total_due == NEVER:
            return None
        return max(0.0, self._total_due - self._loop.time())

    def touch(self) -> None:
        """A byte moved: the wait for the next begins again, if it is limited."""
        if self._silence_bound is not None:
            self._moved = self._loop.time()

    def silence(self) -> float | None:
        """Seconds since the last byte moved; None if no timeout records that."""
        return None if self._silence_bound is None else self._loop.time() - self._moved

    def await_head(self) -> None:
        """Expect a response head from now on."""
        self._bound_silence(self._timeouts.first_byte)

    def await_body(self, *, is_stream: bool) -> None:
        """Expect a body from now on, under the timeouts for its kind."""
        bounds = self._timeouts
        self._bound_silence(bounds.stream_idle if is_stream else bounds.idle)
        if self._due() == NEVER:
            self._timer.silence()  # such a stream may go on for hours

    def await_client(self) -> None:
        """Bytes wait for the client; meanwhile the upstream is not read."""
        self._is_browser_awaited = True
        self._client_due = NEVER
        if self._timeouts.send is not None:
            # After this callback, because the bytes that are still written now do not count as
            # taken.
            self._loop.call_soon(self._watch_client)

    def client_took(self) -> None:
        """The client took what waited: it is the upstream's turn again."""
        self._is_browser_awaited = False
        self._client_due = NEVER
        self._bound_silence(self._silence_bound)

    def forget_upstream(self) -> None:
        """The upstream has sent everything."""
        self._silence_bound = None

    def cancel(self) -> None:
        """Stop all timeouts."""
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
        """Note what the client has not taken, and check again after its timeout."""
        if self._is_browser_awaited and self._timeouts.send is not None:
            self._unsent = self._bounded.unsent()
            self._client_due = self._loop.time() + self._timeouts.send
            self._arm()

    def _due(self) -> float:
        """Returns when the first timeout passes."""
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
            self._bounded.total_timed_out()
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
            self._bounded.send_timed_out()

    def _check_silence(self, now: float) -> None:
        """The turn may have changed since the timer was set, and the timeout with it."""
        bound = self._timeouts.send if self._bounded.awaits_client else self._silence_bound
        due = now + CLIENT_CHECK if bound is None else self._moved + bound
        if due <= now:
            self._bounded.idle_timed_out()
        else:
            self._timer.set(min(due, self._total_due) if self._is_total_watched else due)
