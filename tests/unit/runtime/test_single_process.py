"""A gateway opens two ports, says whether it is ready, and closes both whatever happened."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from gateway.config.model import Config, HealthCheck, Route, Upstream
from gateway.runtime.gateway import Gateway, Shared
from gateway.runtime.lifecycle import StartupError
from gateway.runtime.settings import Settings
from gateway.runtime.single_process import SingleProcess

PATIENCE = 10.0
ROUTE = Route("/", (), Upstream("", "http", "127.0.0.1", 1), auth_required=False)


def gateway_of(
    *, drain_delay: float = 0.0, drain_timeout: float = 0.0, port: int = 0
) -> SingleProcess:
    settings = Settings("127.0.0.1", port, 0, drain_delay, drain_timeout)
    return SingleProcess(Config((ROUTE,)), settings)


@asynccontextmanager
async def running(gateway: SingleProcess) -> AsyncIterator["asyncio.Task[None]"]:
    with capture_logs():
        task = asyncio.create_task(gateway.run())
        async with asyncio.timeout(PATIENCE):
            await gateway.started.wait()
        yield task
        gateway.stop()
        async with asyncio.timeout(PATIENCE):
            await task


async def got(port: int, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.json(content_type=None)


async def test_both_ports_say_that_it_is_alive_and_ready() -> None:
    gateway = gateway_of()
    async with running(gateway):
        for port in (gateway.port, gateway.ops_port):
            assert await got(port, "/healthz") == (200, {"status": "ok"})
            status, reported = await got(port, "/readyz")
            assert (status, reported["status"]) == (200, "ready")
            assert reported["checks"]["routes"] == {"ok": True, "loaded": 1}
            assert reported["checks"]["upstreams"]["ok"]


async def test_a_gateway_whose_required_route_has_no_healthy_upstream_is_not_ready() -> None:
    check = HealthCheck("/", interval=0.01, unhealthy_after=1, required=True)
    gateway = SingleProcess(
        Config((replace(ROUTE, health_check=check), replace(ROUTE, path="/b"))),
        Settings("127.0.0.1", 0, 0, 0.0, 0.0),
    )
    async with running(gateway), asyncio.timeout(PATIENCE):
        while (answered := await got(gateway.ops_port, "/readyz"))[0] == 200:
            pass
    assert answered[1]["checks"]["upstreams"]["required_without"] == ["/"]


async def test_a_route_without_a_healthy_upstream_is_reported_and_the_gateway_ready() -> None:
    check = HealthCheck("/", interval=0.01, unhealthy_after=1)
    gateway = SingleProcess(
        Config((replace(ROUTE, health_check=check), replace(ROUTE, path="/b"))),
        Settings("127.0.0.1", 0, 0, 0.0, 0.0),
    )
    async with running(gateway), asyncio.timeout(PATIENCE):
        while (answered := await got(gateway.ops_port, "/readyz"))[1]["checks"]["upstreams"]["ok"]:
            pass
    assert (answered[0], answered[1]["status"]) == (200, "ready")
    assert answered[1]["checks"]["upstreams"]["routes_without"] == ["/"]


async def test_the_ops_port_says_what_it_has() -> None:
    gateway = gateway_of()
    async with running(gateway):
        assert await got(gateway.ops_port, "/nowhere") == (
            404,
            {"paths": ["/", "/healthz", "/readyz", "/metrics", "/streams", "/events"]},
        )


async def test_a_process_reports_its_number_its_routes_and_its_health() -> None:
    config = Config((ROUTE,))
    gateway = Gateway(config, Shared.alone(config), worker=3)
    await gateway.start()
    reported = gateway.report()
    await gateway.close()
    assert (reported.worker, reported.streams, reported.health.is_ready) == (3, (), True)
    [route] = reported.routes
    assert (route.path, route.upstreams) == ("/", (("", True, 0),))


@pytest.mark.parametrize(
    "stop", [SingleProcess.stop, lambda _: signal.raise_signal(signal.SIGTERM)]
)
async def test_a_draining_gateway_is_alive_but_not_ready(
    stop: Callable[[SingleProcess], Awaitable[None] | None],
) -> None:
    gateway = gateway_of(drain_delay=60)
    async with running(gateway) as task:
        stop(gateway)
        async with asyncio.timeout(PATIENCE):
            while (await got(gateway.ops_port, "/readyz"))[0] == 200:
                pass
        assert (await got(gateway.ops_port, "/healthz"))[0] == 200
        status, reported = await got(gateway.port, "/readyz")
        assert (status, reported["status"], reported["checks"]["draining"]["ok"]) == (
            503,
            "not_ready",
            False,
        )
        assert not task.done()


async def test_a_port_in_use_is_a_startup_error_that_leaves_no_port_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway = gateway_of(port=port)
        with capture_logs(), pytest.raises(StartupError) as refused:
            await gateway.run()
    assert str(refused.value).startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert not gateway.started.is_set()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", gateway.ops_port)


async def test_a_host_that_is_none_of_ours_is_a_startup_error() -> None:
    gateway = SingleProcess(Config((ROUTE,)), Settings("192.0.2.1", 0, 0))
    with capture_logs(), pytest.raises(StartupError, match=r"192\.0\.2\.1:0"):
        await gateway.run()


async def test_after_the_end_nobody_listens() -> None:
    gateway = gateway_of()
    async with running(gateway):
        pass
    for port in (gateway.port, gateway.ops_port):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_the_steps_of_its_life_are_logged() -> None:
    gateway = gateway_of()
    with capture_logs() as lines:
        task = asyncio.create_task(gateway.run())
        async with asyncio.timeout(PATIENCE):
            await gateway.started.wait()
            gateway.stop()
            await task
    assert [line["event"] for line in lines] == ["listening", "draining", "stopped"]
    assert lines[0]["port"] == gateway.port
