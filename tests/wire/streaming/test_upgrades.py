"""After an Upgrade or a CONNECT, what follows on the connection is never taken for a request."""

import asyncio

import pytest

from tests.support.raw_client import RawClient
from tests.support.upstream import Exchange, Upstream, answers, chunk

UPGRADE = (
    b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABk\r\n"
)
SECOND = b"GET /open/second HTTP/1.1\r\nHost: x\r\n\r\n"
PROTOCOLS = [b"h2c", b"websocket"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_follows_an_upgrade_is_not_served(
    upstream: Upstream, client: RawClient, protocol: bytes
) -> None:
    upstream.script = answers(b"plain")
    await client.send(b"GET /open/x HTTP/1.1\r\n" + UPGRADE % protocol + b"\r\n" + SECOND)
    got = await client.head()
    assert (got.status, got.value("Connection")) == (200, "close")
    assert bytes((await client.rest()).body) == b"plain"
    assert await client.closed() == b""
    assert [request.target for request in upstream.requests] == ["/open/x"]
    assert "upgrade" not in upstream.request.names()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_request_that_is_cut_by_an_upgrade_does_not_begin_in_its_midst(
    upstream: Upstream, client: RawClient, protocol: bytes
) -> None:
    go_on = asyncio.Event()
    plain = answers(b"plain")

    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        await plain(exchange)

    upstream.script = script
    post = b"POST /open/y HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SECOND)
    await client.send(b"GET /open/x HTTP/1.1\r\n" + UPGRADE % protocol + b"\r\n" + post)
    await upstream.exchange()
    await client.send(SECOND)
    go_on.set()
    await client.closed()
    assert [request.target for request in upstream.requests] == ["/open/x"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 3\r\n", b"abc"),
        (b"Transfer-Encoding: chunked\r\n", chunk(b"abc") + b"0\r\n\r\n"),
    ],
    ids=["length", "chunked"],
)
async def test_a_body_behind_an_upgrade_is_relayed_whole_or_refused(
    upstream: Upstream, client: RawClient, protocol: bytes, framing: bytes, body: bytes
) -> None:
    head = b"POST /open/x HTTP/1.1\r\n" + UPGRADE % protocol + framing + b"\r\n"
    await client.send(head + body + SECOND)
    got = await client.head()
    assert (got.status in (200, 400), got.value("Connection")) == (True, "close")
    await client.rest()
    assert await client.closed() == b""
    assert [bytes(request.body) for request in upstream.requests] == [b"abc"] * (got.status == 200)


async def test_what_follows_a_connect_is_not_served(upstream: Upstream, client: RawClient) -> None:
    await client.send(b"CONNECT /open/x HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND)
    got = await client.head("CONNECT")
    assert (got.status in (400, 405), got.value("Connection")) == (True, "close")
    await client.closed()
    assert upstream.requests == []


async def test_a_refused_upgrade_is_the_last_of_its_connection(
    upstream: Upstream, client: RawClient
) -> None:
    await client.send(b"GET /private/x HTTP/1.1\r\n" + UPGRADE % b"h2c" + b"\r\n" + SECOND)
    got = await client.head()
    assert (got.status, got.value("Connection")) == (401, "close")
    await client.rest()
    assert await client.closed() == b""
    assert upstream.requests == []
