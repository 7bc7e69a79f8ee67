"""What a stretch of time cost: the proxy's processor time, and how busy both cores were."""

import gc
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.peer import Running
from bench.processes import LOAD_CORE, PROXY_CORE, BenchError
from bench.report import Sample

_IDLE = (3, 4)  # proc(5): where a core's line in /proc/stat has the time that nothing ran
_TICKS = os.sysconf("SC_CLK_TCK")


def _idle_seconds(core: int) -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            return sum(int(fields[each]) for each in _IDLE) / _TICKS
    raise BenchError(f"there is no core {core} here; two are needed")


class TokenBucket:
    """Measures from entering to leaving it. Until then Python's own collector stays away."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.seconds = 0.0
        self._own = 0.0
        self._cpu = 0.0
        self._load_busy = 0.0
        self._foreign = 0.0
        self._before: tuple[float, ...] = ()

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()
        self._before = self._read()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        gc.enable()
        if error is None:
            spent = [now - before for now, before in zip(self._read(), self._before, strict=True)]
            self.seconds, self._own, self._cpu, load_idle, proxy_idle = spent
            self._load_busy = max(0.0, 1 - load_idle / self.seconds)
            self._foreign = max(0.0, 1 - (proxy_idle + self._cpu) / self.seconds)

    def cpu_per(self, count: float, unit: float = 1e6) -> dict[str, float]:
        """What one of so many cost, in microseconds; nothing where no proxy is between."""
        if self._running.process is None or not count:
            return {}
        return {"cpu": self._cpu / count * unit}

    def sample(
        self, values: Mapping[str, float], faults: int, load_busy: float | None = None
    ) -> Sample:
        """What was measured. `load_busy` is given by a load that never sleeps.

        Whatever such a load did not get of its core was taken by others.
        """
        if load_busy is None:
            return Sample(values, faults, self._load_busy, self._foreign)
        return Sample(values, faults, load_busy, max(self._foreign, 1 - self._own / self.seconds))

    def _read(self) -> tuple[float, ...]:
        return (
            time.monotonic(),
            time.process_time(),
            self._running.cpu(),
            _idle_seconds(LOAD_CORE),
            _idle_seconds(PROXY_CORE),
        )
