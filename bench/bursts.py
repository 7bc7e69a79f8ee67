"""Streams that send bursts as fast as they are taken: what passes, and what an event costs then."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import httptools

from bench.browser import request
from bench.meter import TokenBucket
from bench.peer import Running
from bench.report import Figure, Sample
from bench.source import EVENT_SIZE, Source, StreamSource, chunk, event, service
from bench.stage import Stage

STREAMS = 20
BURST = 1000
# Nothing comes any more where nothing came for so long, in seconds.
SILENCE = 0.5
FIGURES = (
    Figure("rate", "events/s"),
    Figure("cpu", "CPU µs per event"),
)
_EVENTS = [event(number, 0) for number in range(BURST)]
_SIZE = BURST * EVENT_SIZE
_SENT = b"".join(map(chunk, _EVENTS))
# More than once, so that what comes in one piece can be compared wherever it begins.
_EXPECTED = b"".join(_EVENTS) * 4
_BUFFER = 256 * 1024


class Bursts:
    """Drives all streams of a source until it is stopped."""

    def __init__(self, source: Source) -> None:
        self.sent = 0
        self.is_over = False
        self._source = source
        source.on_begin = self._send_one

    def start(self) -> None:
        """Go on, on all streams, as fast as each is taken."""
        for stream in self._source.live:
            stream.on_writable = partial(self._send, stream)
            self._send(stream)

    def _send(self, stream: StreamSource) -> None:
        while stream.is_writable and not self.is_over:
            self._send_one(stream)

    def _send_one(self, stream: StreamSource) -> None:
        stream.transport.write(_SENT)
        self.sent += _SIZE


class Sink(asyncio.BufferedProtocol):
    """A browser that compares what comes with what must come.

    The parser hands each chunk to a list, without a call of Python: looked at one by one, they
    would take the load's core longer than some proxies take for all they do.
    """

    def __init__(self) -> None:
        self.received = 0
        self.faults = 0
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._buffer = memoryview(bytearray(_BUFFER))
        self._pieces: list[bytes] = []
        calls = SimpleNamespace(
            on_headers_complete=lambda: self.began.set_result(None), on_body=self._pieces.append
        )
        self._parser: Any = httptools.HttpResponseParser(calls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(request("/events"))

    def get_buffer(self, _hint: int) -> memoryview:
        """Called by the event loop."""
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        """Called by the event loop."""
        self._parser.feed_data(self._buffer[:count])
        data = b"".join(self._pieces)
        self._pieces.clear()
        begin = self.received % _SIZE
        self.received += len(data)
        if data != _EXPECTED[begin : begin + len(data)]:
            self.faults += 1


async def _rest(bursts: Bursts, sinks: list[Sink]) -> int:
    """How many events are missing, or too many, when no more come."""
    before = -1
    while before < (got := sum(sink.received for sink in sinks)) < bursts.sent:
        before = got
        await asyncio.sleep(SILENCE)
    return -(-abs(bursts.sent - got) // EVENT_SIZE)


async def measure(running: Running, stage: Stage) -> Sample:
    """Measure a peer."""
    loop = asyncio.get_running_loop()
    async with service(stage.upstreams.events) as source:
        bursts = Bursts(source)
        sinks: list[Sink] = []
        try:
            for _ in range(STREAMS):
                port = running.port("/events")
                sinks.append((await loop.create_connection(Sink, "127.0.0.1", port))[1])
                await sinks[-1].began
            bursts.start()
            await asyncio.sleep(stage.settle)
            before = sum(sink.received for sink in sinks)
            with TokenBucket(running) as spent:
                await asyncio.sleep(stage.window)
                events = (sum(sink.received for sink in sinks) - before) / EVENT_SIZE
            bursts.is_over = True
            faults = await _rest(bursts, sinks) + sum(sink.faults for sink in sinks)
        finally:
            for sink in sinks:
                sink.transport.abort()
    values = {"rate": events / spent.seconds, **spent.cpu_per(events)}
    return spent.sample(values, faults)
