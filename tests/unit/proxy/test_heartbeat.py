"""A heartbeat beats after each silence of its length, and not before."""

import asyncio

from gateway.proxy.heartbeat import Heartbeat

INTERVAL = 0.05


class Beats:
    """When it beat, in loop time."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self._came = asyncio.Event()

    def beat(self) -> None:
        self.at.append(asyncio.get_running_loop().time())
        self._came.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.at) < count:
                self._came.clear()
                await self._came.wait()


async def test_it_beats_again_and_again_while_nothing_is_sent() -> None:
    beats, began = Beats(), asyncio.get_running_loop().time()
    heartbeat = Heartbeat(INTERVAL, beats.beat)
    await beats.until(3)
    heartbeat.cancel()
    assert beats.at[2] - began >= 3 * INTERVAL - 0.005


async def test_what_is_sent_puts_it_off() -> None:
    beats, loop = Beats(), asyncio.get_running_loop()
    heartbeat = Heartbeat(INTERVAL, beats.beat)
    for _ in range(10):
        await asyncio.sleep(INTERVAL / 5)
        heartbeat.touch()
        sent = loop.time()
        if beats.at:
            break  # a busy machine slept for longer than that
    await beats.until(len(beats.at) + 1)
    heartbeat.cancel()
    assert beats.at[-1] - sent >= INTERVAL - 0.005


async def test_once_cancelled_it_beats_no_more() -> None:
    beats, other = Beats(), Beats()
    heartbeat = Heartbeat(INTERVAL, beats.beat)
    heartbeat.cancel()
    heartbeat.cancel()
    beside = Heartbeat(INTERVAL, other.beat)
    await other.until(2)
    beside.cancel()
    assert beats.at == []
