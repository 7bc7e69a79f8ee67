"""What the ops port shows of live streams, to programs and to people with a browser."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.support.chromium import chromium
from tests.support.gateway_process import PATIENCE, GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.tokens import token
from tests.support.upstream import EVENT_STREAM, Exchange, Upstream, chunk
from tests.wire.conftest import Connect, StartGateway

ROUTES = """\
defaults: {proxy_upstream: $SERVICE}
routes:
- path: /followed
  stream: {error_event: message}
- path: /jobs/{kind}
  idle_timeout: 1h
"""
EVENT = b"data: 1\n\n"
HOSTILE = "<img src=x onerror=document.title=1>"


async def plays(exchange: Exchange) -> None:
    """Do as the path says: never answer, flood, or send two events and then nothing."""
    path = exchange.request.target.partition("?")[0]
    if path == "/jobs/waits":
        await exchange.until_gone()
    await exchange.send(EVENT_STREAM)
    while path == "/jobs/floods":
        await exchange.send(chunk(b"x" * 65536))
    await exchange.send(chunk(EVENT) + chunk(EVENT))
    await exchange.until_gone()


@pytest.fixture
def gateway(start_gateway: StartGateway, service: Upstream) -> GatewayProcess:
    service.script = plays
    return start_gateway(ROUTES, "--drain-timeout", "0s")


async def opened(connect: Connect, gateway: GatewayProcess, path: str, subject: str) -> RawClient:
    client = await connect(gateway.port, receive_buffer=4096)
    await client.request(f"{path}?token={token(sub=subject)}&secret=sesame")
    return client


async def reported(connect: Connect, gateway: GatewayProcess, query: str, **wanted: str) -> Any:
    """Ask until the streams, by subject, are in these states."""
    async with asyncio.timeout(PATIENCE):
        while True:
            client = await connect(gateway.ops_port)
            got = await client.fetch(f"/streams{query}")
            assert (got.status, got.value("Cache-Control")) == (200, "no-store")
            assert not re.search(rb"eyJ|sesame|token", got.body)
            streams = {each["subject"]: each for each in got.json()["streams"]}
            if {subject: each["state"] for subject, each in streams.items()} == wanted:
                return streams


async def test_streams_are_listed_by_what_they_wait_for_until_they_end(
    gateway: GatewayProcess, connect: Connect
) -> None:
    opens = [("/jobs/waits", "ann"), ("/jobs/floods", "bob"), ("/followed", "cy")]
    clients = [await opened(connect, gateway, path, subject) for path, subject in opens]
    await clients[2].head()
    await clients[2].until(EVENT + EVENT)
    streams = await reported(
        connect, gateway, "", ann="waiting", bob="backpressure", cy="streaming"
    )
    ann, bob, cy = streams["ann"], streams["bob"], streams["cy"]
    assert (ann["bytes_out"], ann["events"], ann["route"]) == (0, None, "/jobs/{kind}")
    assert bob["bytes_out"] > 65536
    assert (cy["bytes_out"], cy["events"], cy["route"]) == (18, 2, "/followed")
    assert cy["age_seconds"] <= bob["age_seconds"] <= ann["age_seconds"] < PATIENCE
    assert ann["silent_seconds"] is not None
    assert cy["silent_seconds"] is None
    await reported(connect, gateway, "?route=/followed", cy="streaming")
    await reported(connect, gateway, "?sort=bytes&limit=1", bob="backpressure")
    for client in clients:
        client.close()
    await reported(connect, gateway, "")


async def test_the_page_s_events_end_well_with_the_gateway(
    gateway: GatewayProcess, connect: Connect
) -> None:
    client = await connect(gateway.ops_port)
    await client.request("/events")
    await client.head()
    await client.until(b'"is_ready":true')
    assert await asyncio.to_thread(gateway.stop) == 0
    assert (await client.rest()).body.endswith(b"\n\n")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE * 1000)
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser, gateway: GatewayProcess) -> Page:
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    await page.goto(f"http://127.0.0.1:{gateway.ops_port}/")
    return page


def rows(page: Page) -> Locator:
    return page.get_by_test_id("streams").locator("tbody tr")


async def test_a_person_sees_streams_come_and_go_sorts_and_filters_them(
    page: Page, gateway: GatewayProcess, connect: Connect
) -> None:
    complaints: list[str] = []  # of the content security policy, or of the script

    def keep_complaint(message: ConsoleMessage) -> None:
        complaints.append(message.text)

    page.on("console", keep_complaint)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await expect(page.get_by_test_id("readiness")).to_have_text("ready")
    await expect(page.get_by_test_id("empty")).to_be_visible()
    await expect(page.get_by_test_id("routes").locator("tbody tr")).to_have_count(2)
    clients = [
        await opened(connect, gateway, path, subject)
        for path, subject in (("/jobs/calm", "zoe"), ("/followed", HOSTILE), ("/followed", "ann"))
    ]
    await expect(rows(page)).to_have_count(3)
    await expect(page.get_by_test_id("chart-active").locator(".now")).to_have_text("3")
    await expect(page.get_by_test_id("streams")).to_contain_text(HOSTILE)
    assert await page.get_by_test_id("streams").locator("img").count() == 0

    subject = page.get_by_role("columnheader", name="Subject")
    await expect(subject).to_have_attribute("aria-sort", "none")
    for direction, first in (("ascending", HOSTILE), ("descending", "zoe")):
        await subject.get_by_role("button").press("Enter")
        await expect(subject).to_have_attribute("aria-sort", direction)
        await expect(rows(page).first).to_contain_text(first)

    await page.get_by_label("Filter").fill("ZOE")
    await expect(rows(page)).to_have_count(1)
    await expect(page.get_by_test_id("count")).to_have_text("1 of 3")
    await page.get_by_label("Filter").fill("")
    await expect(rows(page)).to_have_count(3)
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await page.evaluate("document.documentElement.scrollWidth") == 360

    clients[0].close()
    await expect(rows(page)).to_have_count(2)
    assert complaints == []
    assert await page.title() == "Gateway status"


async def test_a_page_whose_gateway_is_gone_says_that_it_is_stale(
    page: Page, gateway: GatewayProcess
) -> None:
    await expect(page.get_by_test_id("connection")).to_have_text("Live")
    assert await asyncio.to_thread(gateway.stop) == 0
    await expect(page.get_by_test_id("connection")).to_contain_text("Stale: no news since")
