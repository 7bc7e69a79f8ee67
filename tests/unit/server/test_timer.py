"""An alarm rings at its time or before, calls who listens then, and troubles the loop seldom."""

import asyncio

from gateway.server.timer import Timer

PATIENCE = 10.0
SOON = 0.03  # seconds
LATER = 60.0


class Listener:
    """Hears an alarm."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def __call__(self) -> None:
        self.heard.set()

    async def wait(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.heard.wait()


def due(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_it_rings_when_it_is_set_for() -> None:
    alarm, listener = Timer(), Listener()
    alarm.listen(listener)
    when = due(SOON)
    alarm.set(when)
    await listener.wait()
    assert due(0) >= when - 0.002  # a loop may count milliseconds


async def test_a_shorter_time_goes_before_a_longer_one_and_rings_once() -> None:
    alarm, listener = Timer(), Listener()
    alarm.listen(listener)
    alarm.set(due(LATER))
    alarm.set(due(SOON))
    await listener.wait()
    listener.heard.clear()
    alarm.set(due(SOON))
    await listener.wait()


async def test_a_longer_time_leaves_the_timer_as_it_is() -> None:
    alarm, listener = Timer(), Listener()
    alarm.listen(listener)
    alarm.set(due(SOON))
    alarm.set(due(LATER))
    await listener.wait()


async def test_the_next_exchange_hears_the_timer_that_the_last_one_left() -> None:
    alarm, last, following = Timer(), Listener(), Listener()
    alarm.listen(last)
    alarm.set(due(SOON))
    alarm.ignore()
    alarm.listen(following)
    await following.wait()
    assert not last.heard.is_set()


async def test_nobody_hears_it_after_an_end() -> None:
    alarm, ended, clock = Timer(), Listener(), Listener()
    alarm.listen(ended)
    alarm.set(due(SOON))
    alarm.ignore()
    asyncio.get_running_loop().call_later(SOON * 2, clock)
    await clock.wait()
    assert not ended.heard.is_set()


async def test_silenced_it_does_not_ring_until_it_is_set_again() -> None:
    alarm, listener, clock = Timer(), Listener(), Listener()
    alarm.listen(listener)
    alarm.set(due(SOON))
    alarm.silence()
    asyncio.get_running_loop().call_later(SOON * 2, clock)
    await clock.wait()
    assert not listener.heard.is_set()
    alarm.set(due(SOON))
    await listener.wait()
