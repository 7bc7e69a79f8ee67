"""Many streams with events at an even pace: what one event costs, and how long it is on its way."""

import asyncio
import time
from dataclasses import dataclass, field

from bench.browser import Browser, leaving, open_streams
from bench.meter import TokenBucket
from bench.pacer import Pacer
from bench.peer import Running
from bench.report import Figure, Sample
from bench.source import Source, service
from bench.stage import Stage

FIGURES = (
    Figure("cpu", "CPU µs per event"),
    Figure("p50", "added p50 µs", is_added=True),
    Figure("p99", "added p99 µs", is_added=True),
)
GRACE = 2.0


@dataclass(slots=True)
class Latencies:
    """How long events were on their way, in nanoseconds."""

    all: list[int] = field(default_factory=list)

    def note(self, _browser: Browser, sent_at: int) -> None:
        """An event arrived."""
        self.all.append(time.monotonic_ns() - sent_at)

    def microseconds(self, share: float) -> float:
        """The latency that a share of the events did not exceed."""
        ranked = sorted(self.all)
        return ranked[int(len(ranked) * share)] / 1e3 if ranked else float("nan")


async def faults(source: Source, browsers: list[Browser]) -> int:
    """What went wrong, once all that was sent had time to arrive: lost counts as well."""
    sent = sum(stream.sent for stream in source.live)
    deadline = time.monotonic() + GRACE
    while (got := sum(browser.received for browser in browsers)) < sent:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.01)
    return abs(sent - got) + sum(browser.faults for browser in browsers)


@dataclass(frozen=True, slots=True)
class Steady:
    """So many streams, each with so many events in a second."""

    streams: int
    per_second: float

    async def __call__(self, running: Running, stage: Stage) -> Sample:
        """Measure a peer."""
        latencies = Latencies()
        async with service(stage.upstreams.events) as source:
            browsers = await open_streams(self.streams, running.port("/events"), latencies.note)
            with leaving(browsers):
                pacer = Pacer(source, self.per_second)
                await asyncio.sleep(stage.settle)
                latencies.all.clear()
                pacer.restart_clock()
                with TokenBucket(running) as spent:
                    await asyncio.sleep(stage.window)
                    events = len(latencies.all)
                    busy = pacer.busy()
                pacer.stop()
                values = {
                    **spent.cpu_per(events),
                    "p50": latencies.microseconds(0.5),
                    "p99": latencies.microseconds(0.99),
                }
                return spent.sample(values, await faults(source, browsers), busy)
