"""A browser that leaves frees its upstream at once, whatever was going on."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.upstream import EVENT_STREAM, Exchange, Script, Upstream, chunk, never_answers
from tests.wire.conftest import Connect

BOUND = 0.1  # seconds, from the contract
TRIES = 4  # a busy machine may delay one measurement; a gateway that is late delays all
BLOCK = chunk(b"x" * 65536)


async def streams(exchange: Exchange) -> None:
    """Send one event, then stay silent until the other side leaves."""
    await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
    await exchange.until_gone()


async def floods(exchange: Exchange) -> None:
    """Send without end."""
    await exchange.send(EVENT_STREAM)
    while True:
        await exchange.send(BLOCK)


def get(name: str) -> bytes:
    return f"GET /open/{name} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n\r\n".encode()


def half_a_post(name: str) -> bytes:
    head = f"POST /open/{name} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n"
    return f"{head}Content-Length: 1000\r\n\r\nhalf".encode()


class Scene(NamedTuple):
    """What goes on when the browser leaves: once `marker` came, if it is not empty."""

    name: str
    script: Script
    request: Callable[[str], bytes]
    marker: bytes = b""


SCENES = [
    Scene("idle-stream", streams, get, b"data: 1\n\n"),
    Scene("busy-stream", floods, get, b"x"),
    Scene("before-the-head", never_answers, get),
    Scene("while-uploading", never_answers, half_a_post),
]


def leave(client: RawClient, how: str) -> float:
    """Leave; the loop time of that is returned."""
    left = asyncio.get_running_loop().time()
    if how == "close":
        client.close()
    else:
        client.reset()
    return left


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_a_browser_that_leaves_closes_the_upstream_at_once(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect, scene: Scene, how: str
) -> None:
    upstream.script = scene.script
    delays = []
    for number in range(TRIES):
        name = f"{scene.name}-{how}-{number}"
        client = await connect()
        await client.send(scene.request(name))
        exchange = await upstream.exchange()
        if scene.marker:
            await client.head()
            await client.until(scene.marker)
        left = leave(client, how)
        delays.append(await exchange.gone_at() - left)
        line = await gateway.request_line(request_id=name)
        assert line["end_reason"] == "client_closed"
        assert len(gateway.request_lines(request_id=name)) == 1
    assert min(delays) < BOUND, delays


async def until_stuck(exchange: Exchange) -> None:
    """Wait until the upstream's sending no longer moves."""
    before = -1
    while exchange.sent != before:
        before = exchange.sent
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_stalled_browser_that_leaves_closes_the_upstream_at_once(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect, how: str
) -> None:
    upstream.script = floods
    client = await connect(receive_buffer=4096)
    await client.send(get(f"stalled-{how}"))
    exchange = await upstream.exchange()
    await client.head()
    await until_stuck(exchange)
    left = leave(client, how)
    assert await exchange.gone_at() - left < 1
    line = await gateway.request_line(request_id=f"stalled-{how}")
    assert line["end_reason"] == "client_closed"


async def test_one_leaving_does_not_disturb_another(upstream: Upstream, connect: Connect) -> None:
    going_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        if exchange.request.target.endswith("leaves"):
            await exchange.until_gone()
        else:
            await going_on.wait()
            await exchange.send(chunk(b"data: 2\n\n"))
            await exchange.until_gone()

    upstream.script = script
    stays, leaves = await connect(), await connect()
    for client, target in ((stays, "/open/stays"), (leaves, "/open/leaves")):
        await client.request(target)
        await client.head()
        await client.until(b"data: 1\n\n")
    first, second = await upstream.exchange(), await upstream.exchange()
    leaves.close()
    await second.gone_at()
    assert not first.is_over
    going_on.set()
    await stays.until(b"data: 2\n\n")


async def test_a_browser_that_leaves_between_requests_leaves_no_request_line(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    client = await connect()
    await client.fetch("/open/only", "X-Request-Id: the-only-one")
    client.close()
    await gateway.request_line(request_id="the-only-one")
    other = await connect()
    await other.fetch("/open/after", "X-Request-Id: the-one-after")
    await gateway.request_line(request_id="the-one-after")
    assert len(gateway.request_lines(path="/open/only")) == 1
