"""The front-end package in an app of Next.js, as it was built: on the server, and in a browser."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.chromium import complaints_of
from tests.support.gateway_process import PATIENCE, ROOT, GatewayProcess, environment
from tests.support.sample_site import ROUTES, STREAM, SampleBackend

APP = ROOT / "frontend/next"
OLDEST_NODE = (20, 9)
_PAGE = "path: /\n    method: GET\n    proxy_upstream: "
_APP_ROUTE = """
  - path: /{file:path}
    proxy_upstream: $APP_URL
    auth_required: false
"""
APP_ROUTES = ROUTES.replace(f"{_PAGE}$PROCESSOR_SERVICE_URL", f"{_PAGE}$APP_URL") + _APP_ROUTE


def node_version() -> tuple[int, ...]:
    said = subprocess.run(["node", "-v"], capture_output=True, text=True, check=True, timeout=10)
    return tuple(map(int, said.stdout.strip().removeprefix("v").split(".")))


# One browser serves all tests of the process, so they share its event loop.
pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(
        os.environ.get("FORM") == "compiled", reason="a copy for the compiled form has no app"
    ),
    pytest.mark.skipif(node_version() < OLDEST_NODE, reason="Next.js needs Node.js 20.9"),
]


@contextmanager
def next_start(log: Path) -> Iterator[str]:
    """Serve the app as production does, on a free port, and yield its URL."""
    assert (APP / ".next/built").is_file(), "the Next.js app is not built: scripts/frontend build"
    command = ["node", "node_modules/next/dist/bin/next", "start", "--hostname", "127.0.0.1"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", "0"],
            cwd=APP,
            env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Ready" in line:
                break
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found is not None, said + log.read_text()
        yield found[0]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with next_start(tmp_path_factory.mktemp("next") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, app_url: str) -> Iterator[GatewayProcess]:
    """The gateway before the app and the sample backend."""
    assert "$APP_URL" in APP_ROUTES.replace(_APP_ROUTE, "")
    directory = tmp_path_factory.mktemp("gateway")
    backend = SampleBackend.publishing(directory / "key.pem")
    env = environment(
        APP_URL=app_url,
        PROCESSOR_SERVICE_URL=backend.url,
        GATEWAY_PUBLIC_KEY=str(directory / "key.pem"),
    )
    try:
        gateway = GatewayProcess.serve(APP_ROUTES, directory, env=env)
        try:
            yield gateway
        finally:
            gateway.stop()
    finally:
        backend.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, gateway: GatewayProcess) -> AsyncIterator[Page]:
    """A tab of a person who has signed in. What the page complains of fails the test."""
    page = await browser.new_page(base_url=f"http://127.0.0.1:{gateway.port}")
    complaints = complaints_of(page)
    await page.request.post("/demo/login")
    yield page
    await page.close()
    assert complaints == []


async def test_the_server_renders_the_component_on_the_page_of_a_server_component(
    app_url: str,
) -> None:
    async with aiohttp.ClientSession() as client, client.get(app_url) as response:
        assert response.status == 200
        html = await response.text()
    assert 'class="gateway-progress" data-status="idle"' in html
    assert 'role="progressbar"' in html
    # The page uses the core on the server, from where a client reference would have no value.
    assert re.search(r"up to (<!-- -->)?10(<!-- -->)? times", html)


async def test_the_component_of_a_server_page_shows_the_progress_of_a_job(
    page: Page, gateway: GatewayProcess
) -> None:
    await page.goto("/")
    indicator = page.locator(".gateway-progress")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.get_by_role("progressbar")).to_have_attribute(
        "aria-valuenow", re.compile(r"[1-9]0")
    )
    await expect(indicator).to_have_attribute("data-status", "completed")
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    line = await asyncio.wait_for(gateway.request_line(route=STREAM), PATIENCE)
    assert line["status"] == 200


async def test_the_hook_of_a_client_page_gives_the_reports_of_a_job(page: Page) -> None:
    await page.goto("/hook")
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_role("status")).to_have_text("100 % The job is done")
    await expect(page.get_by_role("status")).to_have_attribute("data-status", "completed")
