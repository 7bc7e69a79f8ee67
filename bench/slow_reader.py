"""Streams beside one that floods a browser which reads nothing, and what the others feel of it."""

import asyncio
from functools import partial

from bench.browser import leaving, open_stream, open_streams
from bench.meter import TokenBucket
from bench.pacer import Pacer
from bench.peer import Running
from bench.report import Figure, Sample
from bench.source import StreamSource, chunk, event, service
from bench.stage import Stage
from bench.steady import Latencies, faults

STREAMS = 50
PER_SECOND = 100
FIGURES = (
    Figure("alone", "p99 µs without"),
    Figure("beside", "p99 µs beside it"),
    Figure("felt", "beside / without", has_ratio=False),
    Figure("grown", "MB grown", has_ratio=False),
    Figure("taken", "MB taken", has_ratio=False),
)
PATH = "/events?flood"
# A proxy that takes all there is must not take this machine's memory.
MOST = 256 * 1024 * 1024
_BLOCK = chunk(event(0, 0)) * 1000


class Flood:
    """Sends as fast as it is taken, on the one stream that asked for it."""

    def __init__(self) -> None:
        self.taken = 0

    def on_begin(self, stream: StreamSource) -> None:
        """A stream begins."""
        if stream.path == PATH:
            stream.on_writable = partial(self._send, stream)
            self._send(stream)

    def _send(self, stream: StreamSource) -> None:
        while stream.is_writable and self.taken < MOST:
            stream.transport.write(_BLOCK)
            self.taken += len(_BLOCK)


async def measure(running: Running, stage: Stage) -> Sample:
    """Measure a peer: first without the flood, then beside it."""
    latencies, flood = Latencies(), Flood()

    async def window() -> tuple[TokenBucket, float]:
        latencies.all.clear()
        pacer.restart_clock()
        with TokenBucket(running) as spent:
            await asyncio.sleep(stage.window)
            return spent, latencies.microseconds(0.99)

    async with service(stage.upstreams.events) as source:
        port = running.port("/events")
        browsers = await open_streams(STREAMS, port, latencies.note)
        with leaving(browsers):
            pacer = Pacer(source, PER_SECOND)
            await asyncio.sleep(stage.settle)
            _, alone = await window()
            before = running.pss()
            source.on_begin = flood.on_begin
            reader = await open_stream(port, PATH)
            reader.transport.pause_reading()
            with leaving([reader]):
                await asyncio.sleep(stage.settle)
                spent, beside = await window()
                busy = pacer.busy()
                pacer.stop()
                values = {
                    "alone": alone,
                    "beside": beside,
                    "felt": beside / alone,
                    "taken": flood.taken / 1e6,
                }
                if running.process:
                    values["grown"] = (running.pss() - before) / 1e6
                return spent.sample(values, await faults(source, browsers), busy)
