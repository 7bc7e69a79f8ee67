"""The life cycle of a process: it starts, serves until it is stopped, drains and closes.

The first signal (SIGTERM or SIGINT) drains; a second one ends the process at once.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")


class StartupError(Exception):
    """An error that keeps the gateway from starting, in one line for the operator."""


class Process(Protocol):
    """What a life cycle runs."""

    async def start(self) -> None:
        """Open the ports and begin to serve. Raises StartupError."""

    async def drain(self) -> None:
        """Accept nothing more and wait for open exchanges, within bounds."""

    async def close(self) -> None:
        """Close everything, also after a start that failed."""


class Lifecycle:
    """The two events of a process's end: `stop` once to drain, twice to end at once."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether the process drains or has ended."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin to drain; when called a second time, end at once."""
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()

    async def run(self, process: Process, reload: Callable[[], None] | None = None) -> None:
        """Runs a process from start to close. `reload` is called on SIGHUP."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        if reload is not None:
            loop.add_signal_handler(signal.SIGHUP, reload)
        try:
            await process.start()
            await self.stopped()
            await process.drain()
        finally:
            await process.close()
            log.info("stopped")

    async def stopped(self) -> None:
        """Wait for the first stop."""
        await self._stopping.wait()

    async def unless_stopping(self, work: Awaitable[object]) -> bool:
        """Wait for work, but not past the first stop. Returns whether it was done."""
        return await _unless(self._stopping, work)

    async def unless_forced(self, work: Awaitable[object]) -> bool:
        """Wait for work, but not past the second stop. Returns whether it was done."""
        return await _unless(self._forced, work)


async def _unless(event: asyncio.Event, work: Awaitable[object]) -> bool:
    """Wait for work until an event. Raises what the work raised; cancels it at the event."""
    working, waiting = asyncio.ensure_future(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        working.cancel()
        waiting.cancel()
