"""The front end's hook and component in a real browser, in StrictMode, through a real gateway."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, Locator, Page, Request, expect

from tests.support.chromium import complaints_of
from tests.support.example_site import APP_ROUTES, ExampleSite, running_example
from tests.support.sample_site import STREAM

# One browser serves all tests of the process, so they share its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")

# Keeps what the progress bar shows.
RECORD_PROGRESS = """() => {
  window.shown = [];
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      const now = target.getAttribute("aria-valuenow");
      window.shown.push(now === null ? null : Number(now));
    }
  }).observe(document.querySelector("[role=progressbar]"), { attributeFilter: ["aria-valuenow"] });
}"""


@dataclass
class App:
    """The app in a tab, and what it asked for and complained of."""

    page: Page
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108
        self.complaints = complaints_of(self.page)

    @property
    def tokens(self) -> list[str]:
        """The token of each stream that was asked for, in turn."""
        urls = [urlsplit(request.url) for request in self.requests]
        return [parse_qs(url.query)["token"][0] for url in urls if url.path == STREAM]

    @property
    def bar(self) -> Locator:
        return self.page.get_by_role("progressbar")

    @property
    def message(self) -> Locator:
        return self.page.locator(".gateway-progress-message")

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def expect_status(self, status: str) -> None:
        await expect(self.page.locator(".gateway-progress")).to_have_attribute(
            "data-status", status
        )

    async def expect_work(self) -> None:
        await expect(self.message).to_contain_text(" is done")

    async def expect_percent(self, percent: int) -> None:
        await expect(self.bar).to_have_attribute("aria-valuenow", str(percent))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleSite]:
    """What most tests share."""
    with running_example(tmp_path_factory.mktemp("example")) as site:
        yield site


@asynccontextmanager
async def opened_at(browser: Browser, address: str) -> AsyncIterator[App]:
    app = App(await browser.new_page())
    try:
        await app.page.goto(address)
        yield app
    finally:
        await app.page.close()


def opened(
    browser: Browser, site: ExampleSite, **query: object
) -> AbstractAsyncContextManager[App]:
    return opened_at(browser, site.page(**query))


async def test_a_job_is_watched_from_start_to_its_end(browser: Browser, site: ExampleSite) -> None:
    async with opened(browser, site, steps=10, seconds=1) as app:
        await app.expect_status("idle")
        assert app.tokens == []
        await app.page.evaluate(RECORD_PROGRESS)
        await app.press("Start")
        await app.expect_work()
        await app.expect_status("completed")
        await app.expect_percent(100)
        # None while it connects: how far the job is was not known then.
        assert await app.page.evaluate("window.shown") == [None, *range(0, 101, 10)]
        await expect(app.message).to_have_text("The job is done")
        assert len(app.tokens) == 1
        assert app.complaints == []


async def test_a_job_that_fails_shows_why_and_can_be_tried_again(
    browser: Browser, site: ExampleSite
) -> None:
    async with opened(browser, site, steps=10, seconds=0.2, fail=1) as app:
        await app.press("Start")
        await app.expect_status("failed")
        await app.expect_percent(50)
        await expect(app.page.get_by_role("alert")).to_contain_text("closed the connection")
        await app.press("Try again")
        await expect(app.page.get_by_role("alert")).to_contain_text("closed the connection")
        assert len(app.tokens) == 2


async def test_strict_mode_starts_one_job_and_asks_for_one_token(
    browser: Browser, site: ExampleSite
) -> None:
    async with opened(browser, site, steps=3, seconds=0.511, autoStart=1) as app:
        await app.expect_status("completed")
        assert len(app.tokens) == 1
        assert len(site.backend.lines("job_started", seconds=0.511)) == 1
        assert sum(urlsplit(asked.url).path == "/demo/login" for asked in app.requests) == 1


async def test_cancelling_stops_the_service(browser: Browser, site: ExampleSite) -> None:
    async with opened(browser, site, steps=1, seconds=512) as app:
        await app.press("Start")
        await app.expect_status("open")
        started = await site.backend.line("job_started", seconds=512.0)
        await app.press("Cancel")
        ended = await site.backend.line("job_ended", job=started["job"])
        assert ended["reason"] == "client_closed"
        await app.expect_status("cancelled")


async def test_leaving_the_page_stops_the_service(browser: Browser, site: ExampleSite) -> None:
    async with opened(browser, site, steps=1, seconds=513, autoStart=1):
        started = await site.backend.line("job_started", seconds=513.0)
    ended = await site.backend.line("job_ended", job=started["job"])
    assert ended["reason"] == "client_closed"


async def test_a_first_refusal_is_an_end_and_says_so(browser: Browser, site: ExampleSite) -> None:
    async with opened(browser, site, steps=100_000) as app:
        await app.press("Start")
        await app.expect_status("failed")
        await expect(app.page.get_by_role("alert")).to_contain_text("The stream was refused")
        assert len(app.tokens) == 1


async def test_a_page_of_a_listed_origin_may_watch_with_a_token_and_then_with_its_cookie(
    browser: Browser, site: ExampleSite
) -> None:
    async with opened_at(browser, site.foreign_page(site.app_url)) as app:
        await app.press("Start")
        await app.expect_status("completed")
        await app.page.goto(site.foreign_page(site.app_url, tokenFrom="cookie"))
        await app.press("Start")
        await app.expect_status("completed")
        assert app.complaints == []


async def test_each_connection_has_a_token_of_its_own_from_the_token_endpoint(
    browser: Browser, tmp_path: Path
) -> None:
    with running_example(tmp_path) as site:
        async with opened(browser, site, steps=20, seconds=2, tokenFrom="endpoint") as app:
            await app.page.request.post(f"http://127.0.0.1:{site.gateway.port}/demo/login")
            await app.press("Start")
            await app.expect_work()
            site.backend.kill()
            await app.expect_status("waiting")
            site.restart_backend()
            await app.expect_status("completed")
            assert len(app.tokens) >= 2
            assert len(set(app.tokens)) == len(app.tokens)


async def test_a_person_who_has_not_signed_in_reads_that(
    browser: Browser, site: ExampleSite
) -> None:
    async with opened(browser, site, tokenFrom="endpoint") as app:
        await app.press("Start")
        await app.expect_status("failed")
        await expect(app.page.get_by_role("alert")).to_contain_text("status 401: ")
        assert app.tokens == []


async def test_a_page_of_a_foreign_origin_is_refused(browser: Browser, site: ExampleSite) -> None:
    foreign = site.app_url.replace("127.0.0.1", "localhost")
    async with opened_at(browser, site.foreign_page(foreign, tokenFrom="cookie")) as app:
        await app.press("Start")
        await app.expect_status("failed")
        await expect(app.page.get_by_role("alert")).to_contain_text("The stream was refused")


async def test_a_stream_past_its_timeout_ends_with_that_as_the_reason(
    browser: Browser, tmp_path: Path
) -> None:
    routes = APP_ROUTES.replace("timeout: 300s", "timeout: 1s")
    assert routes != APP_ROUTES
    with running_example(tmp_path, routes) as site:
        async with opened(browser, site, steps=1000, seconds=60) as app:
            await app.press("Start")
            await app.expect_status("failed")
            reason = "It took longer than this route allows."
            await expect(app.page.get_by_role("alert")).to_have_text(reason)
            line = await site.gateway.request_line(route=STREAM)
            assert line["end_reason"] == "total_timeout"
            assert len(app.tokens) == 1


async def test_a_backend_that_is_not_there_yet_is_watched_once_it_is(
    browser: Browser, tmp_path: Path
) -> None:
    with running_example(tmp_path) as site:
        site.backend.kill()
        async with opened(browser, site, steps=4, seconds=0.4) as app:
            await app.press("Start")
            await app.expect_status("waiting")
            line = await site.gateway.request_line(route=STREAM)
            assert (line["status"], line["code"]) == (502, "upstream_unreachable")
            site.restart_backend()
            await app.expect_status("completed")


async def test_a_backend_that_is_killed_and_restarted_is_watched_to_the_end(
    browser: Browser, tmp_path: Path
) -> None:
    with running_example(tmp_path) as site:
        async with opened(browser, site, steps=20, seconds=2) as app:
            await app.press("Start")
            await app.expect_work()
            site.backend.kill()
            await app.expect_status("waiting")
            lost = "The connection to the service was lost. Attempt 1 in"
            await expect(app.message).to_contain_text(lost)
            # Nobody is there yet.
            await app.press("Connect now")
            await expect(app.message).to_contain_text("Attempt 2 in")
            site.restart_backend()
            await app.expect_status("completed")
            await app.expect_percent(100)
            assert len(app.tokens) >= 3
            await site.gateway.await_request_lines(2, route=STREAM, status=200)
            statuses = [line["status"] for line in site.gateway.request_lines(route=STREAM)]
            assert statuses[:2] == [200, 502]
            assert statuses[-1] == 200


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (signal.SIGKILL, "The connection was lost."),
        (signal.SIGTERM, "The gateway is shutting down"),
    ],
)
async def test_a_gateway_that_is_restarted_is_watched_to_the_end_with_a_fresh_token(
    browser: Browser, tmp_path: Path, end: signal.Signals, reason: str
) -> None:
    with running_example(tmp_path) as site:
        async with opened(browser, site, steps=20, seconds=2) as app:
            await app.press("Start")
            await app.expect_work()
            site.gateway.signal(end)
            await app.expect_status("waiting")
            await expect(app.page.get_by_role("status")).to_have_text("Reconnecting")
            await expect(app.message).to_contain_text(reason)
            site.restart_gateway()
            await app.expect_status("completed")
            first, *later = app.tokens
            assert later
            assert first not in later


async def test_a_gateway_that_stays_away_is_shown_after_the_last_attempt(
    browser: Browser, tmp_path: Path
) -> None:
    with running_example(tmp_path) as site:
        async with opened(browser, site, steps=20, seconds=60, maxAttempts=1) as app:
            await app.press("Start")
            await app.expect_percent(5)
            site.gateway.signal(signal.SIGKILL)
            await app.expect_status("waiting")
            await app.press("Connect now")
            await app.expect_status("failed")
            await expect(app.page.get_by_role("alert")).to_contain_text("Gave up after one more")
            await app.expect_percent(5)
