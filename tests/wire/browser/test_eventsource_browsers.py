"""What the gateway asks of an EventSource, in Chromium and in Firefox, through the real gateway."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.firefox import Firefox
from tests.support.gateway_process import GatewayProcess, environment
from tests.support.routes import Places
from tests.support.tokens import token
from tests.support.upstream import (
    EVENT_STREAM,
    LAST_CHUNK,
    Exchange,
    Upstream,
    chunk,
    never_answers,
    sends,
)

# One browser of each kind serves all the tests here, so they share its event loop.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

BROWSERS = ["chromium", "firefox"]
ROUTES = """\
cors: {{origins: ["{origin}"], credentials: true}}
defaults:
  proxy_upstream: http://127.0.0.1:{service}
  auth_required: false
routes:
- path: /{{rest:path}}
  stream: {{heartbeat: 40ms, error_event: message, transient_errors: retry}}
- path: /timeout
  timeout: 300ms
  stream: {{error_event: message}}
- path: /retry
  first_byte_timeout: 200ms
  stream: {{transient_errors: retry}}
- path: /status
  first_byte_timeout: 200ms
- path: /private
  auth_required: true
"""
EVENT = chunk(b'id: 1\ndata: {"progress": 40}\n\n')
SILENCE = 0.2  # seconds: several heartbeats
# No browser waits for less by itself: 3 s in Chromium, 5 s in Firefox.
SOON = 2.5

# Gives what an EventSource sees until it has opened so often, failed for good, or saw an event.
LISTEN = """({ url, opens, until }) => new Promise((resolve) => {
  const source = new EventSource(url, { withCredentials: true });
  const seen = [];
  let failedAt, waited = null;
  const done = () => { source.close(); resolve({ seen, state: "done", waited }); };
  source.onmessage = ({ data }) => { seen.push(data); if (data === until) done(); };
  source.onopen = () => {
    seen.push("open");
    if (failedAt !== undefined) waited = (performance.now() - failedAt) / 1000;
    if (seen.filter((each) => each === "open").length === opens) done();
  };
  source.onerror = () => {
    seen.push("error");
    failedAt = performance.now();
    if (source.readyState === EventSource.CLOSED) resolve({ seen, state: "closed", waited });
  };
})"""

Evaluate = Callable[[str, object], Awaitable[Any]]


class Listen(Protocol):
    """Has the browser open an EventSource on a path of the gateway, and gives what it saw."""

    async def __call__(
        self, path: str, *, opens: int = 0, until: str | None = None
    ) -> dict[str, Any]: ...


@asynccontextmanager
async def in_chromium(browser: Browser, origin_server: Firefox) -> AsyncIterator[Evaluate]:
    """A page of the same origin as Firefox's, whose scripts come by another way."""
    page = await browser.new_page()
    await page.goto(f"{origin_server.origin}/blank")

    async def evaluate(code: str, argument: object) -> Any:
        return await page.evaluate(code, argument)

    yield evaluate
    await page.close()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def firefox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Firefox]:
    async with Firefox.running(tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox


@pytest_asyncio.fixture(loop_scope="session", scope="module", params=BROWSERS)
async def evaluate(
    request: pytest.FixtureRequest, browser: Browser, firefox: Firefox
) -> AsyncIterator[Evaluate]:
    if request.param == "firefox":
        yield firefox.evaluate
    else:
        async with in_chromium(browser, firefox) as evaluate:
            yield evaluate


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def gateway(
    places: Places, firefox: Firefox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    routes = ROUTES.format(origin=firefox.origin, service=places.service.getsockname()[1])
    directory = tmp_path_factory.mktemp("browsers")
    gateway = await asyncio.to_thread(GatewayProcess.serve, routes, directory, env=environment())
    yield gateway
    assert await asyncio.to_thread(gateway.stop) == 0, gateway.output


@pytest_asyncio.fixture(loop_scope="session")
async def service(places: Places) -> AsyncIterator[Upstream]:
    service = Upstream()
    service.start(places.service.dup())
    yield service
    await service.stop()


@pytest.fixture
def listen(evaluate: Evaluate, gateway: GatewayProcess) -> Listen:
    async def listen(path: str, *, opens: int = 0, until: str | None = None) -> dict[str, Any]:
        url = f"http://127.0.0.1:{gateway.port}{path}"
        seen: dict[str, Any] = await evaluate(LISTEN, {"url": url, "opens": opens, "until": until})
        return seen

    return listen


def ids(service: Upstream) -> list[str | None]:
    """The Last-Event-ID of each request that came."""
    return [request.value("Last-Event-ID") for request in service.requests]


async def test_heartbeats_are_no_events(listen: Listen, service: Upstream) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)
        for data in (b"one", b"two", b"last"):
            await asyncio.sleep(SILENCE)
            await exchange.send(chunk(b"data: %b\n\n" % data))
        await exchange.until_gone()

    service.script = script
    assert (await listen("/x", until="last"))["seen"] == ["open", "one", "two", "last"]


async def test_a_retry_line_without_a_blank_line_takes_effect(
    listen: Listen, service: Upstream
) -> None:
    service.script = sends(EVENT_STREAM, chunk(b"retry: 50\n"), LAST_CHUNK)
    seen = await listen("/x", opens=2)
    assert seen["seen"] == ["open", "error", "open"]
    assert seen["waited"] < SOON


async def test_without_a_retry_line_it_waits_for_longer(listen: Listen, service: Upstream) -> None:
    service.script = sends(EVENT_STREAM, EVENT, LAST_CHUNK)
    assert (await listen("/x", opens=2))["waited"] > SOON


async def test_it_comes_again_after_a_transient_error_of_a_route_that_says_retry(
    listen: Listen, service: Upstream
) -> None:
    service.script = never_answers
    seen = await listen("/retry", opens=2)
    assert seen["seen"] == ["open", "error", "open"]
    assert len(service.requests) == 2


async def test_it_gives_up_for_good_on_a_status(listen: Listen, service: Upstream) -> None:
    service.script = never_answers
    assert await listen("/status", opens=1) == {
        "seen": ["error"],
        "state": "closed",
        "waited": None,
    }


async def test_the_error_event_is_a_message_that_says_why(
    listen: Listen, service: Upstream
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + EVENT)
        await exchange.until_gone()

    service.script = script
    seen = await listen("/timeout", opens=2)
    assert seen["seen"][1] == '{"progress": 40}'
    assert '"code":"upstream_timeout"' in seen["seen"][2]
    assert seen["seen"][3] == "error"


async def test_a_204_ends_it_and_the_last_id_comes_back(listen: Listen, service: Upstream) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.value("Last-Event-ID") is None:
            await exchange.send(EVENT_STREAM + chunk(b"retry: 50\n") + EVENT + LAST_CHUNK)
        else:
            await exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    service.script = script
    seen = await listen("/x")
    assert (seen["seen"][-1], seen["state"]) == ("error", "closed")
    assert ids(service) == [None, "1"]


async def test_an_id_without_data_is_remembered_by_chromium_and_forgotten_by_firefox(
    listen: Listen, service: Upstream, request: pytest.FixtureRequest
) -> None:
    service.script = sends(EVENT_STREAM, chunk(b"retry: 50\nid: 7\n\n"), LAST_CHUNK)
    await listen("/x", opens=2)
    is_firefox = request.node.callspec.params["evaluate"] == "firefox"
    assert ids(service) == [None, None if is_firefox else "7"]


async def test_a_token_in_the_query_opens_a_stream_of_another_origin(
    listen: Listen, service: Upstream
) -> None:
    service.script = sends(EVENT_STREAM, chunk(b"data: last\n\n"), LAST_CHUNK)
    assert (await listen(f"/private?token={token()}", until="last"))["seen"] == ["open", "last"]
    assert service.request.target == "/private"
    refused = await listen("/private?token=nonsense", opens=1)
    assert (refused["seen"], refused["state"]) == (["error"], "closed")
