"""The test client and upstream work: they face each other with no gateway between."""

import asyncio

import pytest

from tests.support.raw_client import Ending
from tests.support.upstream import EVENT_STREAM, LAST_CHUNK, Exchange, Upstream, chunk, response
from tests.wire.conftest import Connect

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("wire", "body", "ending"),
    [
        (response(b"hello"), b"hello", Ending.CLEAN),
        (EVENT_STREAM + chunk(b"hel") + chunk(b"lo") + LAST_CHUNK, b"hello", Ending.CLEAN),
        (HEAD + b"\r\nhello", b"hello", Ending.CLEAN),
        (HEAD + b"Content-Length: 6\r\n\r\nhello", b"hello", Ending.CUT),
        (EVENT_STREAM + chunk(b"hello"), b"hello", Ending.CUT),
        (EVENT_STREAM + b"6\r\nhello", b"hello", Ending.CUT),
        (EVENT_STREAM + chunk(b"hello") + b"0\r\n", b"hello", Ending.CUT),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", Ending.CLEAN),
    ],
)
async def test_the_client_distinguishes_a_clean_end_from_a_cut(
    service: Upstream, connect: Connect, wire: bytes, body: bytes, ending: Ending
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(wire)
        exchange.finish()

    service.script = script
    got = await (await connect(service.port)).fetch("/")
    assert (bytes(got.body), got.ending) == (body, ending)


async def test_the_client_distinguishes_a_reset_from_a_close(
    service: Upstream, connect: Connect
) -> None:
    seen = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(HEAD + b"\r\nhello")
        await seen.wait()
        exchange.reset()

    service.script = script
    client = await connect(service.port)
    await client.request("/")
    await client.head()
    await client.until(b"hello")
    seen.set()
    assert (await client.rest()).ending is Ending.RESET


async def test_the_client_keeps_chunks_trailers_and_interim_responses(
    service: Upstream, connect: Connect
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + EVENT_STREAM)
        await exchange.send(b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 3\r\n\r\n")

    service.script = script
    got = await (await connect(service.port)).fetch("/")
    assert got.chunks == [b"ab", b"c"]
    assert got.trailers == [(b"X-Sum", b"3")]
    assert [hint.status for hint in got.interim] == [103]


async def test_the_upstream_records_what_it_was_asked(service: Upstream, connect: Connect) -> None:
    client = await connect(service.port)
    got = await client.fetch("/a%2Fb?x=1", "X-oDD: caf\xe9", method="POST", body=b"hello")
    assert got.json()["target"] == service.request.target == "/a%2Fb?x=1"
    assert (b"X-oDD", b"caf\xe9") in service.request.headers
    assert service.request.body == b"hello"
    await client.fetch("/again")
    assert (len(service.requests), service.connections) == (2, 1)


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_the_upstream_notes_when_the_other_side_left(
    service: Upstream, connect: Connect, leave: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.until_gone()

    service.script = script
    client = await connect(service.port)
    await client.request("/")
    exchange = await service.exchange()
    left = asyncio.get_running_loop().time()
    getattr(client, leave)()
    assert await exchange.gone_at() >= left
