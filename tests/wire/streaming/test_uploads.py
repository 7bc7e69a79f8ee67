"""Request bodies stream upward under the same rules as responses stream down."""

import asyncio

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import Ending, RawClient
from tests.support.upstream import EVENT_STREAM, Exchange, Upstream, chunk, response

CHUNKED_POST = b"POST /open/up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_chunked_body_goes_up_while_it_comes(upstream: Upstream, client: RawClient) -> None:
    arrived: list[bytes] = []

    async def script(exchange: Exchange) -> None:
        arrived.append(await exchange.read_chunk())
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1")
        arrived.append(await exchange.read_chunk())
        assert await exchange.read_chunk() == b""
        await exchange.send(b"2")

    upstream.script = script
    await client.send(CHUNKED_POST + chunk(b"first"))
    await client.head()
    await client.until(b"1")
    assert arrived == [b"first"]
    await client.send(chunk(b"second") + b"0\r\n\r\n")
    assert (await client.rest()).body == b"12"
    assert arrived == [b"first", b"second"]
    assert upstream.request.value("Content-Length") is None


async def test_a_body_with_a_length_goes_up_while_it_comes(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        while exchange.request.body != b"first":
            await exchange.read_some()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1")
        await exchange.read_body()
        await exchange.send(b"2")

    upstream.script = script
    await client.send(b"POST /open/up HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nfirst")
    await client.head()
    await client.until(b"1")
    await client.send(b"second")
    assert (await client.rest()).body == b"12"
    assert upstream.request.value("Content-Length") == "11"
    assert upstream.request.value("Transfer-Encoding") is None


@pytest.mark.parametrize("size", [1, 65_537, 3_000_000])
async def test_a_body_arrives_whole(upstream: Upstream, client: RawClient, size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    await client.fetch("/open/up", method="PUT", body=body)
    assert upstream.request.body == body


async def test_an_empty_body_stays_an_empty_body(upstream: Upstream, client: RawClient) -> None:
    await client.fetch("/open/up", "Content-Length: 0", method="POST")
    assert upstream.request.value("Content-Length") == "0"


async def test_a_request_without_a_body_gets_no_framing(
    upstream: Upstream, client: RawClient
) -> None:
    await client.fetch("/open/up")
    assert not {"content-length", "transfer-encoding"} & upstream.request.names()


async def test_request_trailers_do_not_disturb_the_body(
    upstream: Upstream, client: RawClient
) -> None:
    for _ in range(2):
        await client.send(CHUNKED_POST + chunk(b"hello") + b"0\r\nX-Sum: 5\r\n\r\n")
        await client.head()
        assert (await client.rest()).json()["body"] == "hello"
    assert upstream.connections == 1


async def test_the_upstreams_100_continue_asks_for_the_body(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        assert exchange.request.value("Expect") == "100-continue"
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await exchange.read_body()
        await exchange.send(response(b"thanks"))

    upstream.script = script
    await client.request("/open/up", "Expect: 100-continue", "Content-Length: 5", method="POST")
    assert (await client.next_head()).status == 100
    await client.send(b"hello")
    await client.head()
    assert (await client.rest()).body == b"thanks"
    assert upstream.request.body == b"hello"


async def test_an_upstream_may_refuse_before_the_body_is_sent(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(response(b"no", "Connection: close", status="403 Forbidden"))
        exchange.finish()

    upstream.script = script
    await client.request("/open/up", "Expect: 100-continue", "Content-Length: 5", method="POST")
    got = await client.head()
    assert (got.status, got.interim) == (403, [])
    assert (await client.rest()).body == b"no"


async def test_a_refusal_comes_in_place_of_100_continue(
    upstream: Upstream, client: RawClient
) -> None:
    await client.request("/private/up", "Expect: 100-continue", "Content-Length: 5", method="POST")
    got = await client.head()
    assert (got.status, got.interim) == (401, [])
    assert upstream.requests == []


async def test_an_upstream_that_answers_early_is_heard(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(response(b"enough", "Connection: close", status="400 Bad Request"))
        await exchange.until_gone()

    upstream.script = script
    await client.send(CHUNKED_POST + chunk(b"first"))
    got = await client.head()
    assert got.status == 400
    assert (await client.rest()).body == b"enough"


async def test_a_declared_body_over_the_limit_is_a_413_and_goes_nowhere(
    upstream: Upstream, client: RawClient
) -> None:
    await client.request("/small/up", "Content-Length: 1025", method="POST")
    got = await client.head()
    assert got.status == 413
    assert (await client.rest()).json()["code"] == "body_too_large"
    assert upstream.requests == []


async def test_a_chunked_body_over_the_limit_is_a_413(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    upstream.script = Exchange.until_gone
    post = CHUNKED_POST.replace(b"/open/", b"/small/")
    await client.send(post + chunk(b"x" * 1000))
    exchange = await upstream.exchange()
    await client.send(chunk(b"x" * 1000))
    got = await client.head()
    assert got.status == 413
    got = await client.rest()
    assert got.json()["code"] == "body_too_large"
    await exchange.gone_at()
    assert not upstream.request.body.endswith(b"0\r\n\r\n"), "the upstream saw a clean end"
    line = await gateway.request_line(request_id=got.json()["request_id"])
    assert line["end_reason"] == "refused"


@pytest.mark.parametrize("size", [1023, 1024])
async def test_a_body_at_the_limit_passes(upstream: Upstream, client: RawClient, size: int) -> None:
    assert (await client.fetch("/small/up", method="POST", body=b"x" * size)).status == 200
    await client.send(CHUNKED_POST.replace(b"/open/", b"/small/") + chunk(b"x" * size))
    await client.send(b"0\r\n\r\n")
    assert (await client.head()).status == 200


async def test_a_body_that_nobody_wants_does_not_become_the_next_request(
    upstream: Upstream, client: RawClient
) -> None:
    smuggled = b"GET /open/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {len(smuggled)}\r\n\r\n"
    await client.send(head.encode() + smuggled)
    assert (await client.head()).status == 404
    await client.rest()
    await client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await client.closed()
    assert upstream.requests == []


# Framing that goes wrong on the way


async def test_a_malformed_chunk_in_a_later_segment_is_a_400_at_once(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    arrived = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.read_chunk()
        arrived.set()
        await exchange.until_gone()

    upstream.script = script
    await client.send(CHUNKED_POST + chunk(b"first"))
    exchange = await upstream.exchange()
    await arrived.wait()
    await client.send(b"ZZ\r\n")
    sent = asyncio.get_running_loop().time()
    got = await client.head()
    assert (got.status, got.value("Connection")) == (400, "close")
    assert asyncio.get_running_loop().time() - sent < 1
    got = await client.rest()
    assert got.json()["code"] == "bad_request"
    assert await exchange.gone_at() - sent < 1
    line = await gateway.request_line(request_id=got.json()["request_id"])
    assert line["end_reason"] == "refused"


async def test_a_malformed_chunk_behind_a_response_under_way_is_a_cut(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.read_chunk()
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await exchange.until_gone()

    upstream.script = script
    await client.send(CHUNKED_POST + chunk(b"first"))
    exchange = await upstream.exchange()
    await client.head()
    await client.until(b"data: 1\n\n")
    await client.send(b"ZZ\r\n")
    sent = asyncio.get_running_loop().time()
    assert await exchange.gone_at() - sent < 1
    assert (await client.rest()).ending in (Ending.CUT, Ending.RESET)
    assert asyncio.get_running_loop().time() - sent < 1


# Answers while part of the body is owed


OWED = {
    "length": (b"Content-Length: 10\r\n\r\nabc", b"defghij"),
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n\r\n"),
    "expected": (b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", b"abc"),
}


@pytest.mark.parametrize(("start", "rest"), OWED.values(), ids=OWED.keys())
@pytest.mark.parametrize("target", [b"/nowhere", b"/private/x", b"/get-only"])
async def test_a_refusal_while_a_body_is_owed_says_that_it_closes(
    upstream: Upstream, client: RawClient, target: bytes, start: bytes, rest: bytes
) -> None:
    await client.send(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\n" + start)
    got = await client.head()
    assert (got.status in (401, 404, 405), got.value("Connection")) == (True, "close")
    await client.rest()
    await client.send(rest)
    assert await client.closed() == b""
    assert upstream.requests == []


@pytest.mark.parametrize("start", [start for start, _ in OWED.values()], ids=OWED.keys())
async def test_an_early_answer_says_that_it_closes(
    upstream: Upstream, client: RawClient, start: bytes
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(response(b"early"))
        await exchange.until_gone()

    upstream.script = script
    await client.send(b"POST /open/x HTTP/1.1\r\nHost: x\r\n" + start)
    got = await client.head()
    assert (got.status, got.value("Connection")) == (200, "close")
    assert bytes((await client.rest()).body) == b"early"


async def test_an_answer_to_a_whole_request_leaves_the_connection_open(
    upstream: Upstream, client: RawClient
) -> None:
    for target, status in (("/open/x", 200), ("/private/x", 401), ("/open/x", 200)):
        got = await client.fetch(target, method="POST", body=b"hello")
        assert (got.status, got.value("Connection")) == (status, None)
