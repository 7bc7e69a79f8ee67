"""The ops port reports all processes as one, and changes nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from gateway.endpoints import status_page
from gateway.endpoints.ops import PATHS, Ops
from gateway.runtime.ports import ops_runner
from gateway.telemetry.counters import Counters
from gateway.telemetry.health import Health
from gateway.telemetry.prometheus import Snapshot
from gateway.telemetry.report import Report


def report(worker: int = 0, health: Health = Health(1), count: int = 1) -> Report:  # noqa: B008
    tally = Counters()
    tally.requests["GET", 200] = count
    return Report(worker, Snapshot({"/a": tally}, {}, {}, {}, "aa"), health, (), ())


@dataclass
class Port:
    """An ops port, and the processes that it reports."""

    reports: list[Report] = field(default_factory=lambda: [report()])
    url: str = ""

    async def reported(self) -> list[Report]:
        return self.reports


Ask = Callable[..., Awaitable[tuple[aiohttp.ClientResponse, str]]]


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    port = Port()
    ops = Ops(port.reported)
    runner = ops_runner(ops)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield port
    await ops.close()
    await runner.cleanup()


@pytest.fixture
async def ask(port: Port) -> AsyncIterator[Ask]:
    async with aiohttp.ClientSession() as session:

        async def ask(path: str, method: str = "GET") -> tuple[aiohttp.ClientResponse, str]:
            async with session.request(method, port.url + path) as response:
                return response, await response.text()

        yield ask


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_what_would_change_something_is_refused(ask: Ask, path: str, method: str) -> None:
    response, _ = await ask(path, method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", sorted({*PATHS, *status_page.PATHS} - {"/events"}))
async def test_all_may_be_read_and_is_kept_by_nobody(ask: Ask, path: str) -> None:
    for method in ("GET", "HEAD"):
        response, body = await ask(path, method)
        assert (response.status, bool(body)) == (200, method == "GET")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Server"] == "gateway"


async def test_what_is_not_there_is_answered_with_what_is(ask: Ask) -> None:
    response, body = await ask("/nowhere")
    assert response.status == 404
    assert all(f'"{path}"' in body for path in PATHS)


async def test_processes_are_ready_together_and_counted_together(port: Port, ask: Ask) -> None:
    port.reports = [report(0), report(1, count=2)]
    assert (await ask("/readyz"))[0].status == 200
    _, metrics = await ask("/metrics")
    assert 'gateway_requests_total{method="GET",route="/a",status="200"} 3.0' in metrics
    port.reports = [report(0), report(1, Health(1, is_draining=True))]
    assert (await ask("/readyz"))[0].status == 503
    assert (await ask("/healthz"))[0].status == 200


async def test_a_query_that_makes_no_sense_gets_what_is_allowed(ask: Ask) -> None:
    response, body = await ask("/streams?sort=colour")
    assert (response.status, "sort is one of age" in body) == (400, True)
    assert (await ask("/streams?state=waiting&limit=5"))[1] == '{"count": 0, "streams": []}'


async def test_the_page_loads_nothing_of_others_and_runs_no_script_that_stands_in_it(
    ask: Ask,
) -> None:
    response, body = await ask("/")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "://" not in body
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_head_of_the_event_stream_can_be_had_alone(ask: Ask) -> None:
    response, body = await ask("/events", "HEAD")
    assert (response.content_type, body) == ("text/event-stream", "")
