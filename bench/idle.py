"""Thousands of streams on which nothing happens: what each takes of memory."""

import asyncio

from bench.browser import leaving, open_streams
from bench.peer import Running
from bench.report import Figure, Sample
from bench.source import service
from bench.stage import Stage

STREAMS = 5000
FIGURES = (
    Figure("each", "KB per stream"),
    Figure("base", "MB before"),
)
WARM_UP = 20
# Until what was taken for the beginning of a stream is given back.
SETTLE = 1.0


async def measure(running: Running, stage: Stage) -> Sample:
    """Measure a peer."""
    async with service(stage.upstreams.events):
        port = running.port("/events")
        with leaving(await open_streams(WARM_UP, port)):
            await asyncio.sleep(SETTLE / 2)
        await asyncio.sleep(SETTLE / 2)
        before = running.pss()
        browsers = await open_streams(STREAMS, port)
        with leaving(browsers):
            await asyncio.sleep(SETTLE)
            values = {"each": (running.pss() - before) / STREAMS / 1e3, "base": before / 1e6}
            # One event each, no more and no less.
            faults = sum(browser.faults + abs(browser.received - 1) for browser in browsers)
            return Sample(values, faults)
