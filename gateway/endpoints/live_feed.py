"""The event stream of the status page: one event a second, made once for all readers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
import structlog
from aiohttp import web

from gateway.background import in_background
from gateway.endpoints.stream_list import StreamList
from gateway.http.headers import SERVER_NAME
from gateway.telemetry.counters import LATENCY, Counters
from gateway.telemetry.prometheus import Snapshot
from gateway.telemetry.report import Report, ServedRoute

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

INTERVAL = 1.0  # seconds
MOST_STREAMS = 500  # streams in one event: the oldest
_SERVER_ERROR: Final = 500
_OPENING: Final = b"retry: 1000\n"
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "Server": SERVER_NAME,
}


class LiveFeed:
    """Collects reports while there is a reader, and sends them to all readers.

    A slow reader skips the events that come meanwhile: nothing is kept for it.
    """

    def __init__(self, reports: Callable[[], Awaitable[list[Report]]]) -> None:
        self._reports = reports
        self._news = asyncio.Condition()
        self._beat = b""  # the last event, and its number; none without readers
        self._number = 0
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve the stream until the reader leaves or the gateway stops."""
        response = web.StreamResponse(headers=_HEADERS)
        response.force_close()
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(_OPENING)
            await self._write_events(response)
        return response

    async def _write_events(self, response: web.StreamResponse) -> None:
        """Write each event, the first one as soon as there is one."""
        self._enter()
        try:
            number = 0
            while not self._is_closed:
                beat, number = await self._after(number)
                await response.write(beat)
        finally:
            self._leave()

    async def _after(self, number: int) -> tuple[bytes, int]:
        """Returns the last event, once its number is another; nothing at the end."""
        async with self._news:
            while not self._is_closed:
                if self._beat and self._number != number:
                    return self._beat, self._number
                await self._news.wait()
        return b"", number

    async def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        async with self._news:
            self._news.notify_all()

    def _enter(self) -> None:
        self._viewers += 1
        if self._task is None:
            self._task = in_background(self._run())

    def _leave(self) -> None:
        self._viewers -= 1
        if self._viewers == 0 and self._task is not None:
            self._task.cancel()
            self._task, self._beat = None, b""

    async def _run(self) -> None:
        while True:
            try:
                # In a thread, because with thousands of streams it takes as long as many events.
                beat = await asyncio.to_thread(event, Report.merged(await self._reports()))
            except Exception:
                log.exception("live_feed_failed")
            else:
                async with self._news:
                    self._beat, self._number = beat, self._number + 1
                    self._news.notify_all()
            await asyncio.sleep(INTERVAL)


def event(report: Report) -> bytes:
    """Returns a report as an event: one line of JSON."""
    return b"data: %b\n\n" % orjson.dumps(_as_json(report))


def _as_json(report: Report) -> dict[str, object]:
    tallies = report.snapshot.tallies
    live = StreamList(limit=MOST_STREAMS).answer(report.streams)
    return {
        "is_ready": report.health.is_ready,
        "checks": report.health.checks(),
        "totals": _totals(report.snapshot),
        "routes": [_route(route, tallies.get(route.path) or Counters()) for route in report.routes],
        **live,
    }


def _totals(snapshot: Snapshot) -> dict[str, object]:
    """Returns the counts for the charts, since the start; `active` is the present number.

    `first_bytes` counts values within each of `bounds`, in seconds, and above the last.
    """
    total = Counters()
    for counters in snapshot.tallies.values():
        total.merge(counters)
    return {
        "active": total.active,
        "bytes_out": total.bytes_out,
        "events": total.events,
        "bounds": LATENCY,
        "first_bytes": total.first_bytes.counts,
    }


def _route(route: ServedRoute, counters: Counters) -> dict[str, object]:
    """Returns a route with the counts of its path, which routes of other methods share."""
    return {
        "path": route.path,
        "methods": route.methods,
        "description": route.description,
        "upstreams": [each._asdict() for each in route.upstreams],
        "active": counters.active,
        "requests": sum(counters.requests.values()),
        "errors": _errors(counters),
    }


def _errors(counters: Counters) -> int:
    """Returns the responses of 500 and above, and the streams that the upstream broke."""
    answered = sum(
        count for (_, status), count in counters.requests.items() if status >= _SERVER_ERROR
    )
    broken = (counters.streams.get(each, 0) for each in ("upstream_closed", "upstream_timeout"))
    return answered + sum(broken)
