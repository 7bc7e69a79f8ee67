"""Processes ask each other by name, and none waits for one that is gone."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from gateway.http.errors import RATE_LIMITED, Rejection
from gateway.runtime.ipc import Channel, Handlers, Unanswered

PATIENCE = 10.0


@asynccontextmanager
async def pair(handlers: Handlers) -> AsyncIterator[tuple[Channel, Channel]]:
    """Two ends; the second has the handlers."""
    ours, theirs = socket.socketpair()
    one, other = await Channel.over(ours, {}), await Channel.over(theirs, handlers)
    serving = [asyncio.create_task(end.serve()) for end in (one, other)]
    yield one, other
    await one.finish()
    await other.finish()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*serving)


async def test_a_question_is_answered_by_its_handler() -> None:
    async def add(first: int, second: int) -> int:
        return first + second

    async with pair({"add": add}) as (asks, _):
        sums = await asyncio.gather(*(asks.ask("add", n, 1, within=PATIENCE) for n in range(50)))
    assert sums == list(range(1, 51))


async def test_a_message_as_large_as_a_file_comes_whole() -> None:
    async def size(data: bytes) -> int:
        return len(data)

    async with pair({"size": size}) as (asks, _):
        assert await asks.ask("size", b"x" * 1_000_000, within=PATIENCE) == 1_000_000


async def test_what_is_sent_is_done_in_order_and_not_answered() -> None:
    reported: list[int] = []
    is_done = asyncio.Event()

    async def note(number: int) -> None:
        reported.append(number)
        if number == 99:
            is_done.set()

    async with pair({"note": note}) as (sender, _), asyncio.timeout(PATIENCE):
        for number in range(100):
            sender.send("note", number)
        await is_done.wait()
    assert reported == list(range(100))


async def test_a_refusal_is_raised_whole_where_it_was_asked_for() -> None:
    async def refuse() -> None:
        raise Rejection(RATE_LIMITED, "Slowly.", headers=(("Retry-After", "7"),), reason="why")

    async with pair({"refuse": refuse}) as (asks, _):
        with pytest.raises(Rejection) as caught:
            await asks.ask("refuse", within=PATIENCE)
    refusal = caught.value
    assert (refusal.failure, refusal.detail) == (RATE_LIMITED, "Slowly.")
    assert (refusal.headers, refusal.reason) == ((("Retry-After", "7"),), "why")


async def test_a_handler_that_fails_leaves_the_channel_as_it_is() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def well() -> str:
        return "well"

    async with pair({"fail": fail, "well": well}) as (asks, _):
        with capture_logs() as lines, pytest.raises(Unanswered):
            await asks.ask("fail", within=PATIENCE)
        assert lines[0]["event"] == "ipc_message_failed"
        assert await asks.ask("well", within=PATIENCE) == "well"


async def test_who_takes_too_long_is_not_waited_for() -> None:
    async def stay() -> None:
        await asyncio.Event().wait()

    async with pair({"stay": stay}) as (asks, _):
        with pytest.raises(Unanswered):
            await asks.ask("stay", within=0.01)


async def test_nobody_waits_for_an_end_that_is_gone() -> None:
    is_asked = asyncio.Event()

    async def stay() -> None:
        is_asked.set()
        await asyncio.Event().wait()

    async with pair({"stay": stay}) as (asks, other), asyncio.timeout(PATIENCE):
        asking = asyncio.create_task(asks.ask("stay", within=PATIENCE))
        await is_asked.wait()
        await other.finish()
        with pytest.raises(Unanswered):
            await asking
        with pytest.raises(Unanswered):
            await asks.ask("stay", within=PATIENCE)
        asks.send("stay")
