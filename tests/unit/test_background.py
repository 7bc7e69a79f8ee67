"""A task in the background that fails is logged at once, though somebody holds it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.background import in_background


async def fail() -> None:
    raise RuntimeError("a fault of our own")


async def test_a_task_that_fails_is_logged_with_its_name_and_error() -> None:
    with capture_logs() as lines:
        task = in_background(fail())
        with pytest.raises(RuntimeError):
            await task
        await asyncio.sleep(0)
    [line] = lines
    assert (line["event"], line["task"], line["log_level"]) == (
        "background_task_failed",
        "fail",
        "error",
    )
    assert str(line["exc_info"]) == "a fault of our own"


async def test_a_task_that_ends_or_is_cancelled_is_not_logged() -> None:
    with capture_logs() as lines:
        await in_background(asyncio.sleep(0))
        task = in_background(asyncio.sleep(3600))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
    assert lines == []
