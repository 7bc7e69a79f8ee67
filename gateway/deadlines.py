"""The bounds in time of one exchange: all of it, the service's silence, the browser's."""

import asyncio
from typing import Protocol

from gateway.config import Timeouts

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
    """Three timers at most, and none that is set anew for each byte.

    A timer for silence that fires looks when the last byte moved, and waits for the rest.
    """

    def __init__(self, bounded: Bounded, timeouts: Timeouts) -> None:
        self._bounded = bounded
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._started = self._moved = self._loop.time()
        self._silence_bound: float | None = None
        self._total_bound: float | None = None
        self._silence: asyncio.Handle | None = None
        self._total: asyncio.Handle | None = None
        self._browser: asyncio.Handle | None = None
        self._unsent = 0
        self._bound_total(timeouts.total)

    def seconds_left(self) -> float | None:
        """What is left of the whole exchange's time; None without a bound."""
        if self._total_bound is None:
            return None
        return max(0.0, self._started + self._total_bound - self._loop.time())

    def touch(self) -> None:
        """A byte moved: the wait for the next begins anew, where there is a bound for it."""
        if self._silence_bound is not None:
            self._moved = self._loop.time()

    def await_head(self) -> None:
        """From now on a response head is expected."""
        self._bound_silence(self._timeouts.first_byte)

    def await_body(self, *, is_event_stream: bool) -> None:
        """The head came: from now on a body is expected, under the bounds for its kind."""
        bounds = self._timeouts
        if is_event_stream:
            self._bound_total(bounds.stream_total)
        self._bound_silence(bounds.stream_idle if is_event_stream else bounds.idle)

    def await_browser(self) -> None:
        """Bytes wait for the browser; the service is not asked for more meanwhile."""
        self._cancel(self._silence, self._browser)
        self._browser = None
        if self._timeouts.send is not None:
            # After this callback: the bytes still to be written now do not count as taken.
            self._browser = self._loop.call_soon(self._watch_browser)

    def browser_took(self) -> None:
        """The browser took what waited: it is the service's turn again."""
        self._cancel(self._browser)
        self._browser = None
        self._bound_silence(self._silence_bound)

    def forget_service(self) -> None:
        """The service has said all it had to say."""
        self._silence_bound = None
        self._cancel(self._silence)

    def cancel(self) -> None:
        """Stop every timer."""
        self._cancel(self._silence, self._total, self._browser)

    def _bound_total(self, bound: float | None) -> None:
        self._cancel(self._total)
        self._total_bound = bound
        if bound is not None:
            self._total = self._loop.call_at(self._started + bound, self._bounded.out_of_time)

    def _bound_silence(self, bound: float | None) -> None:
        self._cancel(self._silence)
        self._silence_bound = bound
        self.touch()
        if bound is not None:
            self._silence = self._loop.call_later(bound, self._watch_silence)

    def _watch_silence(self) -> None:
        bound = self._timeouts.send if self._bounded.awaits_client else self._silence_bound
        if bound is None:
            self._silence = self._loop.call_later(CLIENT_CHECK, self._watch_silence)
            return
        due = self._moved + bound
        if self._loop.time() < due:
            self._silence = self._loop.call_at(due, self._watch_silence)
        else:
            self._bounded.fell_silent()

    def _watch_browser(self) -> None:
        self._unsent = self._bounded.unsent()
        self._browser = self._loop.call_later(self._timeouts.send or 0.0, self._check_browser)

    def _check_browser(self) -> None:
        if self._bounded.unsent() < self._unsent:
            self._watch_browser()
        else:
            self._bounded.took_nothing()

    def _cancel(self, *handles: asyncio.Handle | None) -> None:
        for handle in handles:
            if handle is not None:
                handle.cancel()
