"""SIGTERM: not ready at once, nothing new, what runs may finish within its time, exit code 0."""

import asyncio
import signal
import time

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import Ending, RawClient
from tests.support.upstream import EVENT_STREAM, LAST_CHUNK, Exchange, Upstream, chunk
from tests.wire.conftest import Connect, StartGateway

ROUTES = """
- path: /{rest:path}
  proxy_upstream: $SERVICE
  auth_required: false
"""
EVENT = b"data: 1\n\n"


async def streams(exchange: Exchange) -> None:
    await exchange.send(EVENT_STREAM + chunk(EVENT))
    await exchange.until_gone()


async def open_stream(connect: Connect, gateway: GatewayProcess) -> RawClient:
    client = await connect(gateway.port)
    await client.request("/events", "X-Request-Id: open-stream")
    await client.head()
    await client.until(EVENT)
    return client


async def readiness(connect: Connect, port: int) -> int:
    return (await (await connect(port)).fetch("/readyz")).status


async def until_not_ready(connect: Connect, gateway: GatewayProcess) -> None:
    """Wait until the ops port says that it drains."""
    async with asyncio.timeout(10):
        while await readiness(connect, gateway.ops_port) == 200:
            pass


async def test_a_gateway_with_nothing_to_do_ends_at_once(start_gateway: StartGateway) -> None:
    gateway = start_gateway(ROUTES)
    began = time.monotonic()
    gateway.signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.exit_code) == 0
    assert time.monotonic() - began < 5
    assert gateway.error_output == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_idle_connections_do_not_delay_the_end(
    start_gateway: StartGateway, connect: Connect, service: Upstream, number: signal.Signals
) -> None:
    gateway = start_gateway(ROUTES)
    client = await connect(gateway.port)
    await client.fetch("/x")
    began = time.monotonic()
    gateway.signal(number)
    assert await asyncio.to_thread(gateway.exit_code) == 0
    assert time.monotonic() - began < 5


async def test_a_stream_may_finish_while_the_gateway_drains(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    finish = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(EVENT))
        await finish.wait()
        await exchange.send(chunk(b"data: 2\n\n") + LAST_CHUNK)

    service.script = script
    gateway = start_gateway(ROUTES)
    client = await open_stream(connect, gateway)
    gateway.signal(signal.SIGTERM)
    await until_not_ready(connect, gateway)
    with pytest.raises(ConnectionError):
        await connect(gateway.port)
    finish.set()
    got = await client.rest()
    assert (bytes(got.body), got.ending) == (EVENT + b"data: 2\n\n", Ending.CLEAN)
    assert await asyncio.to_thread(gateway.exit_code) == 0
    assert gateway.request_lines()[-1]["end_reason"] == "complete"


async def test_a_stream_that_goes_on_is_cut_at_the_drain_timeout(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = streams
    gateway = start_gateway(ROUTES, "--drain-timeout", "1s")
    client = await open_stream(connect, gateway)
    exchange = await service.exchange()
    began = time.monotonic()
    gateway.signal(signal.SIGTERM)
    got = await client.rest()
    assert 1.0 <= time.monotonic() - began < 5
    assert got.ending in (Ending.CUT, Ending.RESET)
    await exchange.gone_at()
    assert await asyncio.to_thread(gateway.exit_code) == 0
    assert gateway.request_lines(request_id="open-stream")[0]["end_reason"] == "drained"
    assert gateway.error_output == ""


async def test_a_second_signal_ends_at_once(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = streams
    gateway = start_gateway(ROUTES, "--drain-timeout", "60s")
    await open_stream(connect, gateway)
    gateway.signal(signal.SIGTERM)
    await until_not_ready(connect, gateway)
    began = time.monotonic()
    gateway.signal(signal.SIGTERM)
    await asyncio.to_thread(gateway.exit_code)
    assert time.monotonic() - began < 5
    assert "Traceback" not in gateway.output


async def test_new_connections_are_answered_for_the_drain_delay(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    gateway = start_gateway(ROUTES, "--drain-delay", "2s")
    began = time.monotonic()
    gateway.signal(signal.SIGTERM)
    await until_not_ready(connect, gateway)
    assert await readiness(connect, gateway.port) == 503
    client = await connect(gateway.port)
    assert (await client.fetch("/x")).status == 200
    assert (await (await connect(gateway.port)).fetch("/healthz")).status == 200
    assert await asyncio.to_thread(gateway.exit_code) == 0
    assert time.monotonic() - began >= 2


async def test_in_the_drain_delay_a_connection_is_let_go_after_its_response(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    """So that none is left whose next request would be refused when the delay is over."""
    gateway = start_gateway(ROUTES, "--drain-delay", "2s")
    client, probe = await connect(gateway.port), await connect(gateway.port)
    assert (await client.fetch("/x")).value("Connection") is None
    gateway.signal(signal.SIGTERM)
    await until_not_ready(connect, gateway)
    got = await client.fetch("/x")
    assert (got.status, got.value("Connection")) == (200, "close")
    assert await client.closed() == b""
    assert (await probe.fetch("/readyz")).value("Connection") is None


async def test_an_open_connection_is_asked_to_close_while_draining(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = streams
    gateway = start_gateway(ROUTES, "--drain-timeout", "2s")
    waiting = await connect(gateway.port)
    await waiting.send(b"GET /x HTTP/1.1\r\nHost: x\r\n")
    await open_stream(connect, gateway)
    gateway.signal(signal.SIGTERM)
    await until_not_ready(connect, gateway)
    try:
        await waiting.send(b"\r\n")
        got = await waiting.head()
    except (ConnectionError, EOFError):
        return  # closed without an answer: nothing was promised, and a browser tries again
    assert (got.status, got.value("Retry-After") is not None) == (503, True)
    assert (await waiting.rest()).json()["code"] == "draining"
