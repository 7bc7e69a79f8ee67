"""A connection too many gets one answer, in time, and holds on to nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from structlog.testing import capture_logs

from gateway.server import overload
from gateway.server.overload import OverloadProtocol
from tests.support.raw_client import Ending, RawClient

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
Open = Callable[[], Awaitable[RawClient]]


@pytest.fixture
async def connect() -> AsyncIterator[Open]:
    """Opens connections, all of which are too many."""

    class Full(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted = cast("asyncio.Transport", transport)
            accepted.set_protocol(OverloadProtocol(accepted))

    clients: list[RawClient] = []
    server = await asyncio.get_running_loop().create_server(Full, "127.0.0.1", 0)

    async def connect() -> RawClient:
        clients.append(await RawClient.connect(server.sockets[0].getsockname()[1]))
        return clients[-1]

    async with server:
        yield connect
        for client in clients:
            client.close()


async def test_a_request_is_answered_and_logged_once(connect: Open) -> None:
    client = await connect()
    with capture_logs() as lines:
        await client.send(GET * 2)
        head = await client.head()
        body = await client.rest()
        await client.send(GET)
        assert await client.closed() == b""
    assert (head.status, head.value("Retry-After"), head.value("Connection")) == (503, "1", "close")
    assert head.value("Content-Type") == "application/problem+json"
    assert (body.ending, body.json()["code"]) == (Ending.CLEAN, "too_many_connections")
    [line] = lines
    assert (line["event"], line["client"], line["end_reason"]) == (
        "request",
        "127.0.0.1",
        "refused",
    )
    assert line["request_id"] == body.json()["request_id"] == head.value("X-Request-Id")


async def test_a_large_request_is_answered_without_a_reset(connect: Open) -> None:
    client = await connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n")
    await client.send(b"x" * 300_000)
    assert (await client.head()).status == 503
    assert (await client.rest()).ending is Ending.CLEAN


@pytest.mark.parametrize("sent", [b"", GET])
async def test_who_does_not_close_is_closed(
    connect: Open, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(overload, "PATIENCE", 0.1)
    client = await connect()
    if sent:
        await client.send(sent)
        await client.head()
        await client.rest()
    assert await client.closed() == b""
