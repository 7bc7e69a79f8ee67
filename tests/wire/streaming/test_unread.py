"""A browser that leaves is heard also where nobody reads from it, and nothing of it is kept."""

import asyncio

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import PATIENCE, Ending, RawClient
from tests.support.upstream import EVENT_STREAM, Exchange, Upstream, chunk
from tests.wire.conftest import Connect, StartGateway

SOON = 1.0  # seconds, on a busy machine
EVENT = b"data: 1\n\n"
GET = b"GET /open/x HTTP/1.1\r\nHost: x\r\n\r\n"
ROUTES = """
- path: /{rest:path}
  proxy_upstream: $SERVICE
  auth_required: false
  max_body: 1GiB
"""


async def streams(exchange: Exchange) -> None:
    """Send one event, then stay silent until the other side leaves."""
    await exchange.send(EVENT_STREAM + chunk(EVENT))
    await exchange.until_gone()


async def floods(exchange: Exchange) -> None:
    await exchange.send(EVENT_STREAM)
    while True:
        await exchange.send(chunk(b"x" * 65536))


async def watching(client: RawClient, upstream: Upstream, name: str) -> Exchange:
    """A client that saw the first event of a stream."""
    await client.request("/open/x", f"X-Request-Id: {name}")
    exchange = await upstream.exchange()
    await client.head()
    await client.until(EVENT)
    return exchange


async def nothing_left_open(gateway: GatewayProcess, before: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while gateway.open_files() > before:  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.01)


async def sent_until_stuck(client: RawClient) -> None:
    """Send until nobody takes any more."""
    try:
        while True:
            async with asyncio.timeout(0.3):
                await client.send(b"x" * 65536)
    except TimeoutError:
        return


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_requests_that_wait_behind_a_stream_do_not_hide_that_the_browser_left(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect, how: str
) -> None:
    upstream.script = streams
    client = await connect()
    exchange = await watching(client, upstream, f"pipelined-{how}")
    await client.send(GET * 100)
    left = asyncio.get_running_loop().time()
    client.close() if how == "close" else client.reset()
    assert await exchange.gone_at() - left < SOON
    line = await gateway.request_line(request_id=f"pipelined-{how}")
    assert line["end_reason"] == "client_closed"
    assert len(upstream.requests) == 1


async def test_an_upload_that_nobody_takes_does_not_hide_that_the_browser_left(
    service: Upstream, start_gateway: StartGateway, connect: Connect
) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(EVENT))
        await go_on.wait()
        await exchange.until_gone()

    service.script = script
    gateway = start_gateway(ROUTES)
    before = gateway.open_files()
    client = await connect(gateway.port)
    await client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
    await client.head()
    await client.until(EVENT)
    exchange = await service.exchange()
    await sent_until_stuck(client)
    left = asyncio.get_running_loop().time()
    client.reset()
    line = await gateway.request_line(method="POST")
    assert asyncio.get_running_loop().time() - left < SOON
    assert line["end_reason"] == "client_closed"
    await nothing_left_open(gateway, before)
    go_on.set()
    await exchange.gone_at()


async def test_a_stalled_browser_that_half_closes_is_let_go_at_once(
    service: Upstream, start_gateway: StartGateway, connect: Connect
) -> None:
    service.script = floods
    gateway = start_gateway(ROUTES)
    before = gateway.open_files()
    client = await connect(gateway.port, receive_buffer=4096)
    await client.request("/x")
    exchange = await service.exchange()
    await client.head()
    sent = -1
    while exchange.sent != sent:
        sent = exchange.sent
        await asyncio.sleep(0.2)
    left = asyncio.get_running_loop().time()
    client.half_close()
    assert await exchange.gone_at() - left < SOON
    assert (await gateway.request_line(method="GET"))["end_reason"] == "client_closed"
    await nothing_left_open(gateway, before)
    assert (await client.rest()).ending is Ending.RESET


@pytest.mark.parametrize("pieces", [1, 50])
async def test_nonsense_behind_a_stream_is_a_cut_that_frees_the_upstream(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, pieces: int
) -> None:
    upstream.script = streams
    name = f"nonsense-{pieces}"
    exchange = await watching(client, upstream, name)
    sent = asyncio.get_running_loop().time()
    try:
        for _ in range(pieces):
            await client.send(b"\x01\x02\r\n\r\n")
    except ConnectionError:
        pass  # it was cut before all of them were sent
    assert await exchange.gone_at() - sent < SOON
    assert (await client.rest()).ending in (Ending.CUT, Ending.RESET)
    assert (await gateway.request_line(request_id=name))["end_reason"] == "refused"
