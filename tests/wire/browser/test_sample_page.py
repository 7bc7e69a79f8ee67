"""The page in a real browser, straight against a process that runs the sample backend."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.support.chromium import complaints_of
from tests.support.sample_site import SampleBackend

# One browser serves all tests of the process, so they share its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[SampleBackend]:
    backend = SampleBackend.publishing(tmp_path / "public-key.pem")
    yield backend
    if backend.is_running:
        assert backend.stop() == 0, backend.output


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, backend: SampleBackend) -> AsyncIterator[Page]:
    page = await browser.new_page()
    await page.goto(backend.url)
    yield page
    await page.close()


async def start(
    page: Page, *, kind: str = "normal", steps: int = 10, seconds: float = 0.2, token: str = "query"
) -> Locator:
    """Start a job the way a person does. The newest card is the first."""
    cards = page.get_by_test_id("job")
    before = await cards.count()
    await page.get_by_test_id("kind").select_option(kind)
    await page.get_by_test_id("steps").fill(str(steps))
    await page.get_by_test_id("seconds").fill(str(seconds))
    await page.get_by_test_id(f"token-{token}").check()
    await page.get_by_test_id("start").click()
    await expect(cards).to_have_count(before + 1)
    return cards.first


async def expect_status(card: Locator, status: str) -> None:
    await expect(card).to_have_attribute("data-status", status)


async def test_a_job_runs_to_its_end_and_shows_its_result_and_every_event(page: Page) -> None:
    complaints = complaints_of(page)  # of the content security policy, or of the script
    async with page.expect_request("**/process/stream?*") as asked:
        card = await start(page)
    await expect_status(card, "completed")
    assert "&token=ey" in (await asked.value).url
    await expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    await expect(card.get_by_test_id("job-step")).to_have_text("saving")
    await expect(card.get_by_test_id("job-result")).to_contain_text('"parts": 10')
    await expect(page.get_by_test_id("announcer")).to_contain_text("Job 1: Completed")
    lines = page.get_by_test_id("events").locator("li[data-type=message]")
    await expect(lines).to_have_count(11)
    await expect(lines.last).to_contain_text('"status":"completed"')
    assert complaints == []


async def test_the_token_may_travel_in_the_cookie_alone(page: Page) -> None:
    async with page.expect_request("**/process/stream?*") as asked:
        card = await start(page, token="cookie")
    await expect_status(card, "completed")
    request = await asked.value
    assert "token" not in request.url
    assert "gateway_token=" in (await request.all_headers())["cookie"]


async def test_a_job_that_fails_shows_why_and_how_far_it_came(page: Page) -> None:
    card = await start(page, kind="failing")
    await expect_status(card, "error")
    await expect(card.get_by_test_id("job-message")).to_contain_text("closed the connection")
    await expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")


async def test_cancelling_stops_the_service_and_hands_the_focus_to_start_again(
    page: Page, backend: SampleBackend
) -> None:
    card = await start(page, steps=1, seconds=600)
    await expect(card.get_by_test_id("job-step")).to_have_text("fetching data")
    await card.get_by_test_id("job-cancel").press("Enter")
    await expect_status(card, "cancelled")
    await expect(card.get_by_test_id("job-again")).to_be_focused()
    assert (await backend.line("job_ended"))["reason"] == "client_closed"

    await page.keyboard.press("Enter")
    second = page.get_by_test_id("job").first
    await expect(second.get_by_test_id("job-name")).to_have_text("Job 2")
    await expect(second.get_by_test_id("job-cancel")).to_be_focused()


async def test_a_lost_connection_is_shown_with_its_percent_and_starts_no_second_job(
    page: Page, backend: SampleBackend
) -> None:
    card = await start(page, steps=1000, seconds=60)
    await expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "1")
    backend.kill()
    assert await asyncio.to_thread(backend.exit_code) == -signal.SIGKILL
    await expect_status(card, "lost")
    await expect(card.get_by_test_id("job-message")).to_contain_text("The connection was lost at 1")
    await expect(card.get_by_test_id("job-again")).to_be_visible()
    await expect(page.get_by_test_id("job")).to_have_count(1)

    await card.get_by_test_id("job-again").click()
    second = page.get_by_test_id("job").first
    await expect_status(second, "refused")
    await expect(second.get_by_test_id("job-hint")).to_contain_text("The log-in did not answer")


async def test_a_refused_stream_is_shown_with_what_a_page_can_know(page: Page) -> None:
    await page.get_by_test_id("steps").evaluate("field => field.removeAttribute('max')")
    card = await start(page, steps=5000)
    await expect_status(card, "refused")
    await expect(card.get_by_test_id("job-hint")).to_contain_text("does not tell a page why")


@pytest.mark.parametrize(
    ("code", "status"), [("total_timeout", "ended"), ("upstream_closed", "lost")]
)
async def test_the_reason_that_the_gateway_gives_is_shown(
    page: Page, code: str, status: str
) -> None:
    reason = {"message": "The gateway had a reason", "step": "gateway", "data": {"code": code}}
    event = json.dumps({"status": "error", "progress": 40, **reason})
    await page.route(
        "**/process/stream?*",
        lambda route: route.fulfill(content_type="text/event-stream", body=f"data: {event}\n\n"),
    )
    card = await start(page)
    await expect_status(card, status)
    await expect(card.get_by_test_id("job-message")).to_have_text("The gateway had a reason")


async def test_five_jobs_run_at_once_and_a_sixth_waits_for_room(page: Page) -> None:
    for _ in range(5):
        card = await start(page, steps=1, seconds=600)
        await expect(card.get_by_test_id("job-step")).to_have_text("fetching data")
    await expect(page.get_by_test_id("start")).to_be_disabled()
    await expect(page.get_by_test_id("full")).to_be_visible()
    await card.get_by_test_id("job-cancel").click()
    await expect(page.get_by_test_id("start")).to_be_enabled()


async def test_the_page_fits_a_phone(page: Page) -> None:
    await page.set_viewport_size({"width": 320, "height": 640})
    await expect_status(await start(page), "completed")
    assert await page.evaluate("document.documentElement.scrollWidth") == 320
