"""Background tasks whose failure is logged when it happens.

asyncio itself reports a failure only when the task is collected, and never while something refers
to it.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")
T = TypeVar("T")


def in_background(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Starts a task and returns it; the caller keeps it, and cancels it when it is to end."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: "asyncio.Task[Any]") -> None:
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        log.error("background_task_failed", task=_name(task), exc_info=error)


def _name(task: "asyncio.Task[Any]") -> str:
    return getattr(task.get_coro(), "__qualname__", task.get_name())
