"""Detects a worker that hangs: it is pinged again and again, and its event loop has to answer.

Time is counted in pings that the supervisor sent and waited for, not by the clock. So a supervisor
that was suspended together with its workers finds one ping unanswered at most, and kills nobody.
"""

import asyncio
from collections.abc import Callable

from gateway.runtime.worker_handle import WorkerHandle

INTERVAL = 2.0  # seconds between two pings, and at most for the answer to each
MAX_MISSED = 5  # unanswered pings in a row; a worker that misses as many hangs


async def until_hung(handle: WorkerHandle, on_change: Callable[[], None]) -> float:
    """Ping a worker until it hangs, and give the seconds that it was silent for.

    It keeps `member.is_answering`, and calls `on_change` when that has changed. The caller cancels
    it at the worker's end.
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
