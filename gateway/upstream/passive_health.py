"""How an upstream stands with this process: what is under way to it, and whether it is let be.

Pure. Times are seconds of one monotonic clock.
"""

import random

EJECT_AFTER = 3  # failures to connect, one after the other
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0  # seconds that it is let be: twice as long each time
JITTER = 0.1  # of a pause, more or less, so that replicas do not come back together


class PassiveHealth:
    """What is known of an upstream from its use. `under_way` counts exchanges."""

    def __init__(self) -> None:
        self.under_way = 0
        self._failures = 0
        self._pauses = 0  # since it last took a connection
        self._back_at = 0.0
        self._is_on_trial = False

    @property
    def is_failing(self) -> bool:
        """Whether its connections failed again and again, and none was made since."""
        return self._pauses > 0

    def is_out(self, now: float) -> bool:
        """Whether it is let be, where there is another."""
        return self._pauses > 0 and now < self._back_at

    def failed(self, now: float) -> float | None:
        """Count a connection that could not be made; the pause, in seconds, where one begins.

        What was begun before the pause and fails within it tells nothing new.
        """
        if self.is_out(now) and not self._is_on_trial:
            return None
        self._failures += 1
        if self._failures < EJECT_AFTER:
            return None
        pause = self._pause() * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
        self._pauses += 1
        self._back_at = now + pause
        self._is_on_trial = False
        return pause

    def connected(self) -> bool:
        """Take it that it is well; True where it was failing."""
        was_failing = self._pauses > 0
        self._failures = self._pauses = 0
        self._is_on_trial = False
        return was_failing

    def try_again(self, now: float) -> None:
        """Say that it gets a request now. After a pause it is one alone: a trial."""
        if self._pauses > 0 and now >= self._back_at:
            self._is_on_trial = True
            self._back_at = now + self._pause()

    def _pause(self) -> float:
        return float(min(FIRST_PAUSE * 2.0 ** min(self._pauses, 10), LAST_PAUSE))
