"""`gateway demo` as a person runs it: a process, the URL it prints, and Ctrl-C."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.gateway_process import GatewayProcess, environment, run_gateway

STREAM = "/api/v1/process/stream"
A_FEW_SECONDS = 5.0


@pytest.fixture
def demo() -> Iterator[GatewayProcess]:
    """A demo in an environment that has none of the gateway's variables."""
    env = environment()
    del env["GATEWAY_JWT_SECRET"], env["GATEWAY_LOG_FORMAT"]
    demo = GatewayProcess("demo", "--port", "0", env=env)
    try:
        demo.await_output("Open http://")
        yield demo
    finally:
        demo.stop()


@pytest.fixture
async def visitor(demo: GatewayProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client at the URL that the demo printed; it keeps cookies as a browser does."""
    found = re.search(r"Open (http://\S+/) ", demo.output)
    assert found is not None, demo.output
    jar = aiohttp.CookieJar(unsafe=True)  # "unsafe" is for hosts that are addresses
    async with aiohttp.ClientSession(found[1], cookie_jar=jar) as visitor:
        yield visitor


async def log_in(visitor: aiohttp.ClientSession) -> str:
    async with visitor.post("/demo/login") as response:
        assert response.status == 200
        return str((await response.json())["token"])


async def reports(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The job's reports, each as it comes."""
    assert response.status == 200, await response.text()
    assert response.content_type == "text/event-stream"
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


async def end_with_ctrl_c(demo: GatewayProcess) -> None:
    """Press Ctrl-C; it ends soon, as asked, and complains of nothing."""
    demo.signal(signal.SIGINT)
    assert await asyncio.to_thread(demo.exit_code, A_FEW_SECONDS) == 0, demo.output
    assert demo.error_output == ""
    assert "Traceback" not in demo.output


async def test_the_printed_url_shows_the_page(
    demo: GatewayProcess, visitor: aiohttp.ClientSession
) -> None:
    async with visitor.get("/") as response:
        page = await response.text()
        assert (response.status, response.content_type) == (200, "text/html")
    parts = re.findall(r'(?:href|src)="(/assets/[^"]+)"', page)
    assert len(parts) == 3
    for part in parts:
        async with visitor.get(part) as response:
            assert response.status == 200
    await end_with_ctrl_c(demo)


async def test_a_job_runs_with_the_token_of_the_log_in(
    demo: GatewayProcess, visitor: aiohttp.ClientSession
) -> None:
    order = {"steps": "4", "seconds": "0.2"}
    async with visitor.get(STREAM, params=order) as response:
        assert response.status == 401
    token = await log_in(visitor)
    for query in (order, {**order, "token": token}):  # the cookie alone, then the URL too
        async with visitor.get(STREAM, params=query) as response:
            reported = [report async for report in reports(response)]
        assert [report["progress"] for report in reported] == [0, 25, 50, 75, 100]
        assert reported[-1]["status"] == "completed"
    await end_with_ctrl_c(demo)
    assert token not in demo.output


async def test_ctrl_c_ends_it_while_a_job_runs(
    demo: GatewayProcess, visitor: aiohttp.ClientSession
) -> None:
    await log_in(visitor)
    async with visitor.get(STREAM, params={"steps": "1", "seconds": "600"}) as response:
        reported = reports(response)
        assert (await anext(reported))["progress"] == 0
        await end_with_ctrl_c(demo)
        last = [report async for report in reported][-1]
    assert (last["status"], last["data"]) == ("error", {"code": "draining"})
    assert demo.output.count("end_reason=drained") == 1


async def test_nothing_listens_after_the_end(
    demo: GatewayProcess, visitor: aiohttp.ClientSession
) -> None:
    async with visitor.get("/") as response:
        ports = {response.url.port}
    await end_with_ctrl_c(demo)
    ports |= {int(port) for port in re.findall(r"(?:ops_port=|127\.0\.0\.1:)(\d+)", demo.output)}
    assert len(ports) == 3  # the page's, the one for health, the sample backend's
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_gateway("demo", "--port", port)
    [line] = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert f"127.0.0.1:{port}" in line
    assert "Open" not in ended.stdout
