"""Detects a worker that hangs: its event loop has to answer pings.

Time is counted in pings that were sent and waited for, not by the clock. A supervisor that was
suspended together with its workers finds at most one unanswered ping, and kills none of them.
"""

import asyncio
from collections.abc import Callable

from gateway.runtime.worker_handle import WorkerHandle

INTERVAL = 2.0  # seconds between two pings, and at most for the answer to each
MAX_MISSED = 5  # consecutive unanswered pings; a worker that misses so many hangs


async def until_hung(handle: WorkerHandle, on_change: Callable[[], None]) -> float:
    """Ping a worker until it hangs. Returns the seconds for which it was silent.

    It sets `handle.is_answering`, and calls `on_change` when that has changed. The caller cancels
    it when the worker exits.
    """
    loop = asyncio.get_running_loop()
    answered_at, missed = loop.time(), 0
    while missed < MAX_MISSED:
        is_answering, _ = await asyncio.gather(handle.ping(INTERVAL), asyncio.sleep(INTERVAL))
        if is_answering:
            answered_at, missed = loop.time(), 0
        else:
            missed += 1
        if is_answering != handle.is_answering:
            handle.is_answering = is_answering
            on_change()
    return loop.time() - answered_at
