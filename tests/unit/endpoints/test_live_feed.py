"""The page's events are made once for all who watch, and by nobody when nobody does."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.endpoints import live_feed as module
from gateway.endpoints.live_feed import MOST_STREAMS, LiveFeed, event
from gateway.runtime.ports import ops_runner
from gateway.telemetry.counters import Counters
from gateway.telemetry.health import Health
from gateway.telemetry.prometheus import Snapshot
from gateway.telemetry.report import LiveStream, Report, ServedRoute, UpstreamState

PATIENCE = 10.0
HOSTILE = "</script>\u2028\r\ndata: <b>"


def stream(number: int, subject: str = "ann") -> LiveStream:
    return LiveStream(
        f"{number:04}", "/a", "GET", subject, "::1", "u", number, 0, 1, None, None, "streaming", 0
    )


def report(*streams: LiveStream, tally: Counters | None = None) -> Report:
    route = ServedRoute("/a", ("GET",), "", (UpstreamState("http://u", False, 1),))
    snapshot = Snapshot({"/a": tally or Counters()}, {}, {}, {}, "aa")
    return Report(0, snapshot, Health(1), (route,), streams)


def data(event: bytes) -> Any:
    return json.loads(event.removeprefix(b"data: "))


def test_an_event_is_one_line_whatever_stands_in_it() -> None:
    made = event(report(stream(1, HOSTILE)))
    assert made.endswith(b"\n\n")
    assert len(made.splitlines()) == 2
    assert data(made)["streams"][0]["subject"] == HOSTILE


def test_a_route_is_listed_with_its_requests_and_errors() -> None:
    tally = Counters()
    tally.requests = {("GET", 200): 5, ("GET", 404): 1, ("GET", 502): 2}
    tally.streams = {"complete": 3, "upstream_closed": 1, "client_closed": 1}
    tally.active = 4
    [route] = data(event(report(tally=tally)))["routes"]
    assert (route["active"], route["requests"], route["errors"]) == (4, 8, 3)
    assert route["upstreams"] == [{"url": "http://u", "is_up": False, "under_way": 1}]


def test_of_many_streams_the_oldest_are_listed_and_all_counted() -> None:
    reported = data(event(report(*(stream(number) for number in range(MOST_STREAMS + 5)))))
    assert (reported["count"], len(reported["streams"])) == (MOST_STREAMS + 5, MOST_STREAMS)
    assert reported["streams"][-1]["id"] == "0005"


class Watched:
    """A pulse, whose reports are counted, or fail."""

    def __init__(self) -> None:
        self.live_feed = LiveFeed(self.reports)
        self.asked = 0
        self.fails = False
        self.left = asyncio.Event()
        self.url = ""

    async def reports(self) -> list[Report]:
        self.asked += 1
        if self.fails:
            self.fails = False
            raise RuntimeError("a fault of our own")
        return [report(stream(self.asked))]

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self.live_feed.serve(request)
        finally:
            self.left.set()


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(module, "INTERVAL", 0.05)
    watched = Watched()
    runner = ops_runner(watched.serve)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    watched.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with asyncio.timeout(PATIENCE):
        yield watched
    await watched.live_feed.close()
    await runner.cleanup()


async def next_id(response: aiohttp.ClientResponse) -> str:
    """The stream in the next event: each report has another."""
    while not (line := await response.content.readline()).startswith(b"data:"):
        assert line, "the stream ended"
    return str(data(line)["streams"][0]["id"])


async def test_all_who_watch_get_the_same_events(watched: Watched) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(watched.url) as one,
        session.get(watched.url) as other,
    ):
        assert one.headers["Cache-Control"] == "no-store"
        mine = [await next_id(one) for _ in range(10)]
        theirs = [await next_id(other) for _ in range(9)]
    assert set(mine) & set(theirs)
    assert len(set(mine)) == 10
    assert watched.asked <= max(int(mine[-1]), int(theirs[-1])) + 20  # not one for each of them


async def test_nothing_is_asked_while_nobody_watches(watched: Watched) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(watched.url) as response:
            last = await next_id(response)
        await watched.left.wait()
        assert watched.live_feed._task is None
        async with session.get(watched.url) as response:
            assert int(await next_id(response)) > int(last)  # and no old event is sent


async def test_a_report_that_fails_costs_one_event(watched: Watched) -> None:
    watched.fails = True
    with capture_logs() as lines:
        async with aiohttp.ClientSession() as session, session.get(watched.url) as response:
            assert await next_id(response) == "0002"
    assert [line["event"] for line in lines] == ["live_feed_failed"]


async def test_at_the_end_each_stream_ends_well(watched: Watched) -> None:
    async with aiohttp.ClientSession() as session, session.get(watched.url) as response:
        await next_id(response)
        await watched.live_feed.close()
        await response.content.read()  # raises where the end is a cut
        assert response.content.at_eof()
