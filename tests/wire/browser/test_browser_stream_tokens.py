"""The documented page in a real browser: a token for each stream, and none serves twice."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.gateway_process import ROOT, GatewayProcess, environment
from tests.support.routes import listener, port_of
from tests.support.tokens import token
from tests.support.upstream import (
    EVENT_STREAM,
    LAST_CHUNK,
    Exchange,
    Script,
    Upstream,
    answers,
    chunk,
)

# One browser serves all tests of the process, so they share its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAM = "/jobs/7/stream"
ROUTES = """\
auth:
  token_endpoint: /auth/stream-token
routes:
- path: /
  auth_required: false
  proxy_upstream: $SERVICE
- path: /jobs/{id}/stream
  proxy_upstream: $SERVICE
"""
PAGE = (ROOT / "docs/authentication.md").read_text(encoding="utf-8")
OPEN = re.findall(r"```js\n(async function openStream.*?)```", PAGE, re.DOTALL)[0]
# What a source goes through until it has given up, or has said all; and where it looked.
WATCH = """(source) => new Promise((resolve) => {
  const seen = [];
  const end = () => { source.close(); resolve([source.url, seen]); };
  source.onmessage = ({ data }) => { seen.push(data); if (data === "last") end(); };
  source.onerror = () => {
    seen.push(`error, readyState ${source.readyState}`);
    if (source.readyState === EventSource.CLOSED) end();
  };
})"""
FIRST = b"retry: 10\n\nid: 1\ndata: first\n\n"


@dataclass(frozen=True, slots=True)
class Stage:
    page: Page
    service: Upstream
    gateway: GatewayProcess

    async def watch(self, source: str) -> tuple[str, list[str]]:
        """What a page sees of the source that an expression makes, and the URL of that."""
        script = f"async () => {{ {OPEN}; return await ({WATCH})({source}); }}"
        url, seen = await self.page.evaluate(script)
        return url, seen

    async def open(self) -> tuple[str, list[str]]:
        return await self.watch(f'await openStream("{STREAM}")')


@pytest_asyncio.fixture(loop_scope="session")
async def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        service, taken = Upstream(), listener()
        service.start(taken)
        stack.push_async_callback(service.stop)
        env = environment(SERVICE=f"http://127.0.0.1:{port_of(taken)}")
        gateway = GatewayProcess.serve(ROUTES, tmp_path_factory.mktemp("tokens"), env=env)
        stack.callback(gateway.stop)
        page = await browser.new_page()
        stack.push_async_callback(page.close)
        url = f"http://localhost:{gateway.port}/"
        cookie = {"name": "gateway_token", "value": token(), "url": url}
        await page.context.add_cookies([cookie])  # type: ignore[list-item]
        service.script = answers(b"<title>A page</title>", "Content-Type: text/html")
        await page.goto(url)
        await page.wait_for_load_state()
        service.requests.clear()
        service.script = ends(b"data: last\n\n")
        yield Stage(page, service, gateway)


def ends(events: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        # In order: of what a cut follows at once a browser may show nothing.
        await exchange.send(EVENT_STREAM + chunk(events) + LAST_CHUNK)

    return script


async def test_a_page_that_is_logged_in_opens_one_stream_with_each_token(stage: Stage) -> None:
    first, seen = await stage.open()
    assert seen == ["last"]
    second, seen = await stage.open()
    assert seen == ["last"]
    assert first != second
    assert [request.target for request in stage.service.requests] == [STREAM] * 2


async def test_the_url_of_a_stream_opens_no_other(stage: Stage) -> None:
    url, _ = await stage.open()
    _, seen = await stage.watch(f'new EventSource("{url}")')
    assert seen == ["error, readyState 2"]
    assert len(stage.service.requests) == 1


async def test_a_browser_that_comes_back_by_itself_gives_up_and_the_page_opens_anew(
    stage: Stage,
) -> None:
    stage.service.script = ends(FIRST)
    _, seen = await stage.open()
    assert seen == ["first", "error, readyState 0", "error, readyState 2"]
    assert len(stage.service.requests) == 1, "the job was not started again"
    stage.service.script = ends(b"data: last\n\n")
    assert (await stage.open())[1] == ["last"]
    line = await stage.gateway.request_line(status=401)
    assert (line["subject"], line["code"]) == ("ada", "token_invalid")
