"""The page in a real browser, through the gateway, with the sample backend behind it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    Locator,
    Page,
    Response,
    expect,
)

from tests.support.chromium import complaints_of
from tests.support.gateway_process import Line
from tests.support.sample_site import ROUTES, STREAM, Site, running_site

# One browser serves all tests of the process, so they share its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON = 3.0  # seconds: nothing beside the minutes that the jobs here would still have taken
STEPS, PACE = 8, 0.2  # seconds from one report to the next

# Keeps what the progress bars show, and when: [percent, milliseconds].
RECORD_PROGRESS = """() => {
  window.shown = [];
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      window.shown.push([Number(target.ariaValueNow), performance.now()]);
    }
  }).observe(document.getElementById("jobs"), {
    subtree: true, attributeFilter: ["aria-valuenow"],
  });
}"""

# What a front-end developer writes, with a job's order added to the query.
PLAIN_EVENT_SOURCE = """([url, token]) => new Promise((resolve, reject) => {
  const source = new EventSource(url + "?token=" + token, { withCredentials: true });
  const reports = [];
  source.onmessage = ({ data }) => {
    const report = JSON.parse(data);
    reports.push(report);
    if (report.status === "processing") return;
    source.close();
    resolve(reports);
  };
  source.onerror = () => reject(new Error(`failed after ${reports.length} events`));
})"""


@dataclass(frozen=True, slots=True)
class Watched:
    """A job that the page watches: its card, and the response that brings its events."""

    card: Locator
    response: Response

    @property
    def request_id(self) -> str:
        return self.response.headers["x-request-id"]

    async def expect_status(self, status: str) -> None:
        await expect(self.card).to_have_attribute("data-status", status)

    @property
    def progress(self) -> Locator:
        return self.card.get_by_role("progressbar")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """What most tests share. At the end it stops cleanly, and no token is in its log."""
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site
        for process in (site.gateway, site.backend):
            assert process.stop() == 0, process.output
            assert process.error_output == ""
            assert "eyJ" not in process.output, "a token stands in the log"


@asynccontextmanager
async def opened(browser: Browser, site: Site) -> AsyncIterator[Page]:
    """Open the page in a tab that shares no cookie with another."""
    page = await browser.new_page()
    try:
        await page.goto(site.url)
        yield page
    finally:
        await page.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, site: Site) -> AsyncIterator[Page]:
    async with opened(browser, site) as page:
        yield page


async def watch(
    page: Page, *, kind: str = "normal", steps: int = 10, seconds: float = 0.3, token: str = "query"
) -> Watched:
    """Start a job the way a person does, up to the head of its stream."""
    number = await page.get_by_test_id("job").count() + 1
    await page.get_by_test_id("kind").select_option(kind)
    await page.get_by_test_id("steps").fill(str(steps))
    await page.get_by_test_id("seconds").fill(str(seconds))
    await page.get_by_test_id(f"token-{token}").check()
    async with page.expect_response(f"**{STREAM}?*") as answered:
        await page.get_by_test_id("start").click()
    card = page.get_by_role("article", name=f"Job {number}", exact=True)
    return Watched(card, await answered.value)


async def watch_running(page: Page, *, seconds: float) -> Watched:
    """Start a job and see it at work."""
    job = await watch(page, steps=1000, seconds=seconds)
    await expect(job.card.get_by_test_id("job-message")).to_contain_text("of 1000 is done")
    return job


async def ending(site: Site, job: Watched) -> Line:
    """The gateway's line of this job's request."""
    return await site.gateway.request_line(request_id=job.request_id)


async def first_shown(page: Page) -> dict[int, float]:
    """When each percent was first shown, in seconds."""
    shown: dict[int, float] = {}
    for percent, milliseconds in await page.evaluate("window.shown"):
        shown.setdefault(percent, milliseconds / 1000)
    return shown


@pytest.mark.parametrize("token", ["query", "cookie"])
async def test_a_job_is_watched_to_its_end_bit_by_bit(page: Page, site: Site, token: str) -> None:
    complaints = complaints_of(page)
    await page.reload()  # what the page says while it loads counts too
    await page.evaluate(RECORD_PROGRESS)
    job = await watch(page, steps=STEPS, seconds=STEPS * PACE, token=token)
    await job.expect_status("completed")

    request = job.response.request
    assert ("&token=ey" in request.url) == (token == "query")
    assert "gateway_token=ey" in (await request.all_headers())["cookie"]
    await expect(job.card.get_by_test_id("job-result")).to_contain_text(f'"parts": {STEPS}')
    events = page.get_by_test_id("events")
    await expect(events.locator("li[data-type=open]")).to_have_count(1)
    await expect(events.locator("li[data-type=message]")).to_have_count(STEPS + 1)

    shown = await first_shown(page)
    assert list(shown) == [0, 12, 25, 37, 50, 62, 75, 87, 100]
    del shown[0]  # a new card shows it before any report
    gaps = [late - early for early, late in pairwise(shown.values())]
    # A machine that stalls may bring a few reports at once; a hop that buffers brings all.
    assert sum(gap > PACE / 2 for gap in gaps) > len(gaps) / 2, gaps
    assert (await ending(site, job))["status"] == 200
    assert complaints == []


async def test_a_job_that_fails_shows_why_and_how_far_it_came(page: Page, site: Site) -> None:
    job = await watch(page, kind="failing")
    await job.expect_status("error")
    await expect(job.card.get_by_test_id("job-message")).to_contain_text("closed the connection")
    await expect(job.progress).to_have_attribute("aria-valuenow", "50")
    assert (await ending(site, job))["status"] == 200


async def test_cancel_stops_the_service(page: Page, site: Site) -> None:
    seconds = 501.0  # in the log this job differs from the others by its length
    job = await watch_running(page, seconds=seconds)
    started = await site.backend.line("job_started", seconds=seconds)
    clicked = time.monotonic()
    await job.card.get_by_test_id("job-cancel").click()
    ended = await site.backend.line("job_ended", job=started["job"])
    assert time.monotonic() - clicked < SOON
    assert ended["reason"] == "client_closed"
    assert (await ending(site, job))["end_reason"] == "client_closed"
    await job.expect_status("cancelled")
    await expect(job.card.get_by_test_id("job-again")).to_be_visible()


async def test_closing_the_tab_stops_the_service(page: Page, site: Site) -> None:
    seconds = 502.0
    job = await watch_running(page, seconds=seconds)
    started = await site.backend.line("job_started", seconds=seconds)
    closed = time.monotonic()
    await page.close()
    ended = await site.backend.line("job_ended", job=started["job"])
    assert time.monotonic() - closed < SOON
    assert ended["reason"] == "client_closed"
    assert (await ending(site, job))["end_reason"] == "client_closed"


async def test_an_invalid_token_is_shown_as_refused(page: Page, site: Site) -> None:
    job = await watch(page, seconds=503, token="invalid")
    await job.expect_status("refused")
    await expect(job.card.get_by_test_id("job-hint")).to_contain_text("the token is missing, wrong")
    assert job.response.status == 401
    line = await ending(site, job)
    assert (line["end_reason"], line["code"]) == ("refused", "token_invalid")
    assert site.backend.lines("job_started", seconds=503.0) == []


async def test_two_jobs_at_once_do_not_wait_for_each_other(page: Page) -> None:
    long = await watch_running(page, seconds=30)
    short = await watch(page)
    await short.expect_status("completed")
    await long.expect_status("processing")
    message = long.card.get_by_test_id("job-message")
    await expect(message).not_to_have_text(await message.inner_text())
    await long.expect_status("processing")
    await long.card.get_by_test_id("job-cancel").click()
    await long.expect_status("cancelled")
    await short.expect_status("completed")


async def test_a_service_that_dies_is_shown_with_that_as_the_reason(
    browser: Browser, tmp_path: Path
) -> None:
    with running_site(tmp_path) as site:
        async with opened(browser, site) as page:
            job = await watch_running(page, seconds=60)
            site.backend.kill()
            await job.expect_status("lost")
            message = job.card.get_by_test_id("job-message")
            await expect(message).to_have_text("The connection to the service was lost.")
            assert (await ending(site, job))["end_reason"] == "upstream_closed"

            await job.card.get_by_test_id("job-again").click()
            again = page.get_by_role("article", name="Job 2", exact=True)
            await expect(again).to_have_attribute("data-status", "refused")
            await expect(again.get_by_test_id("job-hint")).to_contain_text("status 502")


async def test_a_stream_past_its_timeout_is_shown_with_that_as_the_reason(
    browser: Browser, tmp_path: Path
) -> None:
    routes = ROUTES.replace("timeout: 300s", "timeout: 1s")
    assert routes != ROUTES
    with running_site(tmp_path, routes) as site:
        async with opened(browser, site) as page:
            job = await watch(page, steps=1000, seconds=60)
            await job.expect_status("ended")
            message = job.card.get_by_test_id("job-message")
            await expect(message).to_have_text("It took longer than this route allows.")
            line = await ending(site, job)
            assert line["end_reason"] == "total_timeout"
            assert 1000 <= line["duration_ms"] < 1000 + SOON * 1000
            # The page asked for nothing again by itself: that would be a second job.
            assert len(site.gateway.request_lines(route=STREAM)) == 1


async def test_the_token_is_in_no_log_line(page: Page, site: Site) -> None:
    by_query = await watch(page, token="query")
    await by_query.expect_status("completed")
    [in_query] = parse_qs(urlsplit(by_query.response.url).query)["token"]
    by_cookie = await watch(page, token="cookie")
    await by_cookie.expect_status("completed")
    [cookie] = await page.context.cookies()
    refused = await watch(page, token="invalid")
    lines = await asyncio.gather(*(ending(site, job) for job in (by_query, by_cookie, refused)))
    assert [line["path"] for line in lines] == [STREAM] * 3
    for token in (in_query, cookie["value"], "not-a-valid-token"):
        assert token not in site.gateway.output
        assert token not in site.backend.output


async def test_a_plain_event_source_with_the_token_in_its_url_gets_the_events(page: Page) -> None:
    complaints = complaints_of(page)
    log_in = "async () => (await (await fetch('/demo/login', {method: 'POST'})).json()).token"
    token = await page.evaluate(log_in)
    await page.context.clear_cookies()  # the URL alone must do
    arguments = [STREAM, f"{token}&steps=4&seconds=0.2"]
    reports = await page.evaluate(PLAIN_EVENT_SOURCE, arguments)
    assert [report["progress"] for report in reports] == [0, 25, 50, 75, 100]
    assert reports[-1]["status"] == "completed"
    assert complaints == []
