"""The pace of many streams."""

import asyncio
import random
import time
from operator import itemgetter
from statistics import median

from bench.source import Source

SEED = 1
_TRIAL_TURNS = 2000


class Pacer:
    """Sends each stream of a source `per_second` events, every stream at moments of its own.

    It never sleeps: an event loop's timers are too coarse for it, and what a proxy gets would come
    in batches that no independent services send.
    """

    def __init__(self, source: Source, per_second: float) -> None:
        streams = sorted(source.live, key=id)
        phases = random.Random(SEED)
        self._turns = sorted(((phases.random(), each) for each in streams), key=itemgetter(0))
        self._period = 1 / per_second
        self._loop = asyncio.get_running_loop()
        self._round = time.monotonic()
        self._turn = 0
        self._is_stopped = False
        self._last = self._began = self._round
        self._idle = 0.0
        self._trial: list[float] = []
        self._empty_turn = 0.0
        self._loop.call_soon(self._try)

    def restart_clock(self) -> None:
        """Forget how busy it was until now."""
        self._began, self._idle = self._last, 0.0

    def busy(self) -> float:
        """The share of time in which there was something to do: the rest went round for nothing."""
        return 1 - self._idle / (self._last - self._began)

    def stop(self) -> None:
        """Send no more."""
        self._is_stopped = True

    def _try(self) -> None:
        # How long the event loop takes to go round for nothing: no stream sends as yet.
        now = time.monotonic()
        self._trial.append(now - self._last)
        self._last = now
        if len(self._trial) < _TRIAL_TURNS:
            self._loop.call_soon(self._try)
            return
        self._empty_turn = 2 * median(self._trial)
        self._round = now
        self._ring()

    def _ring(self) -> None:
        if self._is_stopped:
            return
        now = time.monotonic()
        if now - self._last < self._empty_turn:
            self._idle += now - self._last
        self._last = now
        phase, stream = self._turns[self._turn]
        while self._round + phase * self._period <= now:
            stream.send_event()
            self._turn += 1
            if self._turn == len(self._turns):
                self._turn, self._round = 0, self._round + self._period
            phase, stream = self._turns[self._turn]
        self._loop.call_soon(self._ring)
