"""Browsers that come, take five events and leave, one after another."""

import asyncio
import socket
import time

from bench.browser import Browser
from bench.meter import TokenBucket
from bench.peer import Running
from bench.report import Figure, Sample
from bench.source import Source, StreamSource, service
from bench.stage import Stage

FIGURES = (
    Figure("rate", "streams/s"),
    Figure("cpu", "CPU µs per stream"),
)
AT_A_TIME = 16
EVENTS = 5
CONNECT_TIMEOUT = 5.0
# How long a stream may live on at the service whose browser has left, in seconds.
GRACE = 1.0


def _send_all(stream: StreamSource) -> None:
    stream.send_events(EVENTS)


def _browser() -> Browser:
    return Browser("/events", _leave_after_last)


def _leave_after_last(browser: Browser, _sent_at: int) -> None:
    if browser.received == EVENTS:
        browser.leave()


class Visitors:
    """As many browsers as there may be at a time: each one that leaves makes room for the next."""

    def __init__(self, port: int) -> None:
        self.streams = 0
        self.faults = 0
        self.is_over = False
        self._port = port

    async def come(self) -> None:
        """One after another, until it is over."""
        loop = asyncio.get_running_loop()
        while not self.is_over:
            # On loopback this is done at once, and costs the load less than waiting for it.
            connection = socket.socket()
            connection.settimeout(CONNECT_TIMEOUT)
            connection.connect(("127.0.0.1", self._port))
            _, browser = await loop.create_connection(_browser, sock=connection)
            await browser.lost
            self.streams += 1
            self.faults += browser.faults


async def _still_open(source: Source) -> int:
    deadline = time.monotonic() + GRACE
    while source.live and time.monotonic() < deadline:  # noqa: ASYNC110 - seldom, and not measured
        await asyncio.sleep(0.02)
    return len(source.live)


async def measure(running: Running, stage: Stage) -> Sample:
    """Measure a peer. A stream left open at the service is a fault."""
    async with service(stage.upstreams.events) as source:
        source.on_begin = _send_all
        visitors = Visitors(running.port("/events"))
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(visitors.come())
            await asyncio.sleep(stage.settle)
            before = visitors.streams
            with TokenBucket(running) as spent:
                await asyncio.sleep(stage.window)
                streams = visitors.streams - before
            visitors.is_over = True
        values = {"rate": streams / spent.seconds, **spent.cpu_per(streams)}
        return spent.sample(values, visitors.faults + await _still_open(source))
