"""Passive health of one upstream: open exchanges, consecutive connect failures, ejection.

Pure. Times are seconds of one monotonic clock.
"""

import random

EJECT_AFTER = 3  # consecutive connect failures
FIRST_EJECTION, LAST_EJECTION = 1.0, 60.0  # seconds; each ejection lasts twice as long as the last
JITTER = 0.1  # share of an ejection, plus or minus, so that replicas do not come back together


class PassiveHealth:
    """What the exchanges with one upstream show. `open_exchanges` counts them."""

    def __init__(self) -> None:
        self.open_exchanges = 0
        self.failures = 0  # consecutive
        self._ejections = 0  # since the last successful connection
        self._ejected_until = 0.0
        self._is_on_trial = False

    @property
    def is_failing(self) -> bool:
        """Whether the upstream was ejected and no connection succeeded since."""
        return self._ejections > 0

    def is_ejected(self, now: float) -> bool:
        """Whether a route that has another upstream avoids this one."""
        return self._ejections > 0 and now < self._ejected_until

    def connect_failed(self, now: float) -> float | None:
        """Count a failed connection. Returns the seconds of the ejection that it causes, or None.

        A connection that was begun before an ejection and fails during it is not counted.
        """
        if self.is_ejected(now) and not self._is_on_trial:
            return None
        self.failures += 1
        if self.failures < EJECT_AFTER:
            return None
        seconds = self._ejection() * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
        self._ejections += 1
        self._ejected_until = now + seconds
        self._is_on_trial = False
        return seconds

    def connected(self) -> bool:
        """End an ejection and reset the counts. Returns whether the upstream was failing."""
        was_failing = self._ejections > 0
        self.failures = self._ejections = 0
        self._is_on_trial = False
        return was_failing

    def begin_attempt(self, now: float) -> None:
        """Record that a request is sent to the upstream. After an ejection it is a single trial."""
        if self._ejections > 0 and now >= self._ejected_until:
            self._is_on_trial = True
            self._ejected_until = now + self._ejection()

    def _ejection(self) -> float:
        return float(min(FIRST_EJECTION * 2.0 ** min(self._ejections, 10), LAST_EJECTION))
