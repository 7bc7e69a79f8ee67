"""Pages of other origins in a real browser: what they get, read, and are kept from."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.gateway_process import GatewayProcess
from tests.support.routes import listener, port_of
from tests.support.tokens import token
from tests.support.upstream import EVENT_STREAM, LAST_CHUNK, Upstream, answers, chunk, sends

# One browser serves all tests of the process, so they share its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUTES = """\
cors: {{origins: "{listed}", credentials: true}}
routes:
- path: /stream
  proxy_upstream: {service}
"""

LISTEN = """([url, withCredentials]) => new Promise((resolve) => {
  const source = new EventSource(url, { withCredentials });
  source.onmessage = ({ data }) => { source.close(); resolve(data); };
  source.onerror = () => resolve(`error, readyState ${source.readyState}`);
})"""

FETCH = """async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    const id = answer.headers.get("X-Request-Id");
    return { status: answer.status, body: await answer.text(), id };
  } catch (error) {
    return { error: error.name };
  }
}"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A gateway, its service, and pages of two origins. All are one site to the cookies' rules."""

    browser: Browser
    gateway: GatewayProcess
    service: Upstream
    listed: str
    foreign: str

    @property
    def stream(self) -> str:
        return f"http://localhost:{self.gateway.port}/stream"

    @asynccontextmanager
    async def page(self, origin: str) -> AsyncIterator[Page]:
        """Open a page of this origin, in a browser that is logged in at the gateway."""
        self.service.requests.clear()
        self.service.script = sends(EVENT_STREAM + chunk(b"data: hello\n\n") + LAST_CHUNK)
        context = await self.browser.new_context()
        cookie = {"name": "gateway_token", "value": token(), "url": self.stream}
        await context.add_cookies([cookie])  # type: ignore[list-item]
        page = await context.new_page()
        await page.goto(origin)
        yield page
        await context.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Upstream]:
    upstream, taken = Upstream(), listener()
    upstream.port = port_of(taken)
    upstream.start(taken)
    upstream.script = answers(b"<title>A page</title>", "Content-Type: text/html")
    yield upstream
    await upstream.stop()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        service, one, other = [await stack.enter_async_context(serving()) for _ in range(3)]
        listed, foreign = (f"http://localhost:{page.port}" for page in (one, other))
        routes = ROUTES.format(listed=listed, service=f"http://127.0.0.1:{service.port}")
        gateway = GatewayProcess.serve(routes, tmp_path_factory.mktemp("cors"))
        stack.callback(gateway.stop)
        yield Stage(browser, gateway, service, listed, foreign)


async def fetched(page: Page, url: str, **options: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await page.evaluate(FETCH, [url, options])
    return answer


async def test_an_event_source_of_a_listed_origin_gets_events_with_the_cookie(
    stage: Stage,
) -> None:
    async with stage.page(stage.listed) as page:
        assert await page.evaluate(LISTEN, [stage.stream, True]) == "hello"
    assert stage.service.request.value("Origin") == stage.listed
    assert stage.service.request.value("Cookie") is None


async def test_an_event_source_without_credentials_brings_no_cookie(stage: Stage) -> None:
    async with stage.page(stage.listed) as page:
        assert await page.evaluate(LISTEN, [stage.stream, False]) == "error, readyState 2"
        stream = f"{stage.stream}?token={token()}"
        assert await page.evaluate(LISTEN, [stream, False]) == "hello"
    assert len(stage.service.requests) == 1
    await stage.gateway.request_line(code="token_missing")


async def test_an_event_source_of_a_foreign_origin_is_refused_before_the_service_sees_it(
    stage: Stage,
) -> None:
    async with stage.page(stage.foreign) as page:
        assert await page.evaluate(LISTEN, [stage.stream, True]) == "error, readyState 2"
    assert stage.service.requests == []
    line = await stage.gateway.request_line(code="origin_denied", method="GET")
    assert (line["subject"], line["status"]) == ("ada", 403)


async def test_a_page_of_a_listed_origin_reads_its_own_401(stage: Stage) -> None:
    async with stage.page(stage.listed) as page:
        got = await fetched(page, stage.stream)
        assert got["status"] == 401
        assert '"code": "token_missing"' in got["body"]
        assert got["id"] in got["body"]


async def test_a_page_of_a_listed_origin_reads_that_there_is_no_such_route(stage: Stage) -> None:
    async with stage.page(stage.listed) as page:
        got = await fetched(page, stage.stream.replace("/stream", "/nowhere"))
        assert got["status"] == 404


async def test_a_page_of_a_foreign_origin_reads_no_answer(stage: Stage) -> None:
    async with stage.page(stage.foreign) as page:
        for url in (stage.stream, f"{stage.stream}?token={token()}", f"{stage.stream}/nowhere"):
            assert await fetched(page, url) == {"error": "TypeError"}


async def test_a_page_of_a_listed_origin_sends_a_token_as_a_header(stage: Stage) -> None:
    async with stage.page(stage.listed) as page:
        headers = {"Authorization": f"Bearer {token('grace')}", "X-Other": "1"}
        got = await fetched(page, stage.stream, method="PUT", headers=headers)
        assert (got["status"], got["body"]) == (200, "data: hello\n\n")
    assert stage.service.request.method == "PUT"  # and no OPTIONS before it
    assert stage.service.request.value("X-Other") == "1"
    line = await stage.gateway.request_line(method="OPTIONS", status=204)
    assert line["route"] == "/stream"
    await stage.gateway.request_line(method="PUT", subject="grace")


async def test_a_page_of_a_foreign_origin_sends_nothing_that_needs_asking(stage: Stage) -> None:
    async with stage.page(stage.foreign) as page:
        headers = {"Authorization": f"Bearer {token()}"}
        got = await fetched(page, stage.stream, headers=headers)
        assert got == {"error": "TypeError"}
    assert stage.service.requests == []
    await stage.gateway.request_line(method="OPTIONS", code="origin_denied")
