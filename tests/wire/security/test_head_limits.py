"""A request head has a bound as a whole, also one that never ends, and so has the memory for it."""

from contextlib import suppress

import pytest

from tests.support.raw_client import RawClient
from tests.support.upstream import Upstream
from tests.wire.conftest import Connect, StartGateway

START = b"GET /open/x HTTP/1.1\r\nHost: x\r\n"
PIECES = 33  # of 1000 bytes: the last one is over the limit, and none comes after the answer
MIB = 1024 * 1024
ROUTES = """
- path: /{rest:path}
  proxy_upstream: $SERVICE
  auth_required: false
"""


def field(number: int, size: int) -> bytes:
    return b"X-%d: %b\r\n" % (number, b"x" * size)


@pytest.mark.parametrize(("fields", "size"), [(20, 2000), (3, 12_000), (200, 200)])
async def test_a_whole_head_over_the_limit_is_a_431(
    upstream: Upstream, client: RawClient, fields: int, size: int
) -> None:
    head = START + b"".join(field(number, size) for number in range(fields)) + b"\r\n"
    await client.send(head)
    assert (await client.head()).status == 431
    assert (await client.rest()).json()["code"] == "headers_too_large"
    assert upstream.requests == []


async def test_a_head_that_never_ends_is_refused_at_the_limit(
    upstream: Upstream, client: RawClient
) -> None:
    await client.send(START)
    for number in range(PIECES):
        await client.send(field(number, 1000))
    assert (await client.head()).status == 431
    await client.rest()
    await client.closed()
    assert upstream.requests == []


async def test_a_line_that_never_ends_is_refused_at_the_limit(
    upstream: Upstream, client: RawClient
) -> None:
    await client.send(START + b"X-Long: ")
    for _ in range(PIECES):
        await client.send(b"x" * 1000)
    assert (await client.closed()).startswith((b"HTTP/1.0 431 ", b"HTTP/1.1 431 "))


async def test_the_memory_for_heads_that_never_end_is_bounded(
    service: Upstream, start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = start_gateway(ROUTES)
    resident = gateway.resident_bytes()
    clients = [await connect(gateway.port) for _ in range(20)]
    for client in clients:
        await client.send(START)
        with suppress(ConnectionError):
            for number in range(100):
                await client.send(field(number, 30_000))
    assert gateway.resident_bytes() - resident < 64 * MIB
    for client in clients:
        await client.closed()
    assert service.requests == []
