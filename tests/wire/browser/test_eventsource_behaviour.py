"""What a real EventSource does about all that a server may do to it: docs/event-streams.md.

The table there is read here, and each row of it is held to what a browser did.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from gateway.config.units import duration
from tests.support.gateway_process import ROOT
from tests.support.routes import dead, listener, port_of
from tests.support.upstream import (
    EVENT_STREAM,
    LAST_CHUNK,
    Exchange,
    Script,
    Upstream,
    answers,
    chunk,
    response,
    sends,
)

# One browser serves all tests of the process, so they share its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCS = ROOT / "docs" / "event-streams.md"
# A browser is never early by more than the grain of its clocks, and late on a busy machine.
EARLY, LATE = 0.02, 2.0  # seconds

EVENT = chunk(b"id: 1\ndata: one\n\n")
NAMELESS = chunk(b"data: one\n\n")
HALF = chunk(b"id: 2\ndata: tw")
WITH_CORS = b"Access-Control-Allow-Origin: *\r\n"
REFUSES = "refuses the connection"


@dataclass(frozen=True, slots=True)
class Case:
    """What the server does to the first request, and where that leads the browser, if anywhere."""

    script: Script
    location: str = ""
    is_cut_once_seen: bool = False


def stream(*pieces: bytes) -> Case:
    return Case(sends(EVENT_STREAM, *pieces))


def cut(*pieces: bytes) -> Case:
    """Cut once the page has seen its first event: what a cut follows at once may never be shown."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + b"".join(pieces))

    return Case(script, is_cut_once_seen=True)


def says(status: str, *headers: str) -> Case:
    return Case(answers(b"", *headers, status=status))


def redirects(status: str, location: str) -> Case:
    return Case(answers(b"", f"Location: {location}", status=status), location)


def cases(other: str) -> dict[str, Case]:
    """All cases by name, with the URL of a server of another origin."""
    temporary = "307 Temporary Redirect"
    return {
        "ends the stream, after an event with `id: 1`": stream(EVENT, LAST_CHUNK),
        "ends the stream, after an event without an id": stream(NAMELESS, LAST_CHUNK),
        "ends the stream, after `retry: 50`": stream(chunk(b"retry: 50\n\n"), LAST_CHUNK),
        "ends the stream, with nothing in it": stream(LAST_CHUNK),
        "is cut off before the first event": stream(),
        "is cut off after an event with `id: 1`": cut(EVENT),
        "is cut off in its second event, with `id: 2`": cut(EVENT, HALF),
        "says 200 with another content type": says("200 OK", "Content-Type: application/json"),
        "says 204": Case(sends(b"HTTP/1.1 204 No Content\r\n\r\n")),
        "says 401": says("401 Unauthorized"),
        "says 403": says("403 Forbidden"),
        "says 404": says("404 Not Found"),
        "says 429 with `Retry-After: 1`": says("429 Too Many Requests", "Retry-After: 1"),
        "says 500": says("500 Internal Server Error"),
        "says 502": says("502 Bad Gateway"),
        "says 503 with `Retry-After: 1`": says("503 Service Unavailable", "Retry-After: 1"),
        "says 504": says("504 Gateway Timeout"),
        "says 301 to a stream": redirects("301 Moved Permanently", "/moved?301"),
        "says 307 to a stream": redirects(temporary, "/moved?307"),
        "says 307 to a stream of another origin, with CORS": redirects(temporary, f"{other}/open"),
        "says 307 to a stream of another origin, without": redirects(temporary, f"{other}/closed"),
    }


# Gives for each source what its page saw, until it was closed or had come again.
LISTEN = """(sources) => Promise.all(sources.map(([name, url]) => new Promise((resolve) => {
  const source = new EventSource(url);
  const seen = [];
  let state, failedAt;
  source.onmessage = () => {
    seen.push("message");
    window.saw(name);
  };
  source.onopen = () => {
    if (failedAt === undefined) return seen.push("open");
    source.close();
    resolve([name, { seen, state, delay: (performance.now() - failedAt) / 1000 }]);
  };
  source.onerror = () => {
    seen.push("error");
    [state, failedAt] = [source.readyState, performance.now()];
    if (state === EventSource.CLOSED) resolve([name, { seen, state, delay: null }]);
    window.failed(name);
  };
}))).then(Object.fromEntries)"""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table, in its own words."""

    server: str
    seen: str
    state: str
    again: str
    last_event_id: str
    target: str


def reported() -> list[Row]:
    table = DOCS.read_text().partition("| the server |")[2].partition("\n\n")[0]
    lines = table.splitlines()[2:]
    return [Row(*(cell.strip() for cell in line[1:-1].split(" | "))) for line in lines]


class Experiment:
    """Every case at once, so that the seconds that a browser waits are waited once.

    `asked` has the Last-Event-ID of each request, by URL. `found` is what each page saw.
    """

    def __init__(self) -> None:
        self.asked: defaultdict[str, list[str | None]] = defaultdict(list)
        self.found: dict[str, dict[str, Any]] = {}
        self.cases: dict[str, Case] = {}
        self.urls: dict[str, str] = {}
        self._to_play: dict[str, str] = {}  # the names of cases, by URL
        self._seen: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._closed, self._late = dead(), Upstream()

    async def run(self, browser: Browser) -> None:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(self._serving())
            self._prepare(server, await stack.enter_async_context(self._serving()))
            stack.push_async_callback(self._late.stop)
            page = await browser.new_page()
            stack.push_async_callback(page.close)
            await page.expose_function("failed", self._failed)
            await page.expose_function("saw", lambda name: self._seen[name].set())
            await page.goto(f"{server}/")
            self.found = await page.evaluate(LISTEN, list(self.urls.items()))

    def _prepare(self, server: str, other: str) -> None:
        self.cases = cases(other)
        self.urls = {name: f"{server}/{number}" for number, name in enumerate(self.cases)}
        self._to_play = {url: name for name, url in self.urls.items()}
        self.urls[REFUSES] = f"http://127.0.0.1:{port_of(self._closed)}/"

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[str]:
        """Run a server inside the block, and give its origin."""
        upstream, taken = Upstream(), listener()
        upstream.script = self._answer
        upstream.start(taken)
        yield f"http://127.0.0.1:{port_of(taken)}"
        await upstream.stop()

    def _failed(self, name: str) -> None:
        """Open the port that refused, so that the browser is seen to come again."""
        if name == REFUSES and not self._late.port:
            self._closed.listen()
            self._late.port, self._late.script = port_of(self._closed), self._answer
            self._late.start(self._closed)

    async def _answer(self, exchange: Exchange) -> None:
        """Play a case for its first request; for all others, a whole stream."""
        url = f"http://{exchange.request.value('Host')}{exchange.request.target}"
        self.asked[url].append(exchange.request.value("Last-Event-ID"))
        name = self._to_play.pop(url, None)
        if name is not None:
            case = self.cases[name]
            await case.script(exchange)
            if case.is_cut_once_seen:
                await self._seen[name].wait()
                exchange.finish()
        elif exchange.request.target == "/" and url != self.urls[REFUSES]:
            await exchange.send(response(b"<title>A page</title>", "Content-Type: text/html"))
        else:
            opened = b"" if exchange.request.target == "/closed" else WITH_CORS
            head = EVENT_STREAM.removesuffix(b"\r\n") + opened + b"\r\n"
            await exchange.send(head + EVENT + LAST_CHUNK)

    def row(self, name: str, again: str) -> Row:
        """What was found of a case. `again` is the delay, which the table has in words."""
        found = self.found[name]
        url = self.urls[name]
        location = self.cases[name].location if name in self.cases else ""
        moved = urljoin(url, location) if location else ""
        seen, state = ", ".join(found["seen"]), str(found["state"])
        if found["delay"] is None:
            assert len(self.asked[url]) == 1
            return Row(name, seen, state, "never", "-", "-")
        is_moved = bool(moved) and len(self.asked[moved]) == 2
        last = self.asked[moved if is_moved else url][-1]
        target = "the redirect's target" if is_moved else "the same URL"
        return Row(name, seen, state, again, last or "none", target)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def experiment(browser: Browser) -> Experiment:
    experiment = Experiment()
    await experiment.run(browser)
    return experiment


@pytest.mark.parametrize("row", reported(), ids=lambda row: row.server)
async def test_a_row_of_the_table_is_what_a_browser_does(experiment: Experiment, row: Row) -> None:
    assert experiment.row(row.server, row.again) == row
    delay = experiment.found[row.server]["delay"]
    if delay is not None:
        wait = duration(row.again.removeprefix("after "))
        assert wait is not None
        assert wait - EARLY < delay < wait + LATE


async def test_each_case_has_its_row(experiment: Experiment) -> None:
    assert sorted(row.server for row in reported()) == sorted(experiment.urls)
