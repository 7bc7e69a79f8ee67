"""A broken upstream is reported as broken: a clean 502 before the head, a cut after it."""

import asyncio
from typing import NamedTuple

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import Ending, RawClient
from tests.support.upstream import (
    EVENT_STREAM,
    Exchange,
    Script,
    Upstream,
    answers,
    chunk,
    response,
    sends,
)

EVENT = b"data: 1\n\n"
LENGTH_50 = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"


class Break(NamedTuple):
    """A response that starts well, and what comes of it after that was seen."""

    name: str
    start: bytes
    rest: bytes = b""
    is_reset: bool = False


def breaks(broken: Break, seen: asyncio.Event) -> Script:
    """A script: play the break; `seen` says that the start arrived at the far end."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(broken.start)
        await seen.wait()
        if broken.rest:
            await exchange.send(broken.rest)
        if broken.is_reset:
            exchange.reset()
        else:
            exchange.finish()

    return script


BREAKS = [
    Break("between-chunks", EVENT_STREAM + chunk(EVENT)),
    Break("mid-chunk", EVENT_STREAM + chunk(EVENT), b"20\r\npart of it"),
    Break("in-a-chunk-size", EVENT_STREAM + chunk(EVENT), b"2"),
    Break("in-the-last-chunk", EVENT_STREAM + chunk(EVENT), b"0\r\n"),
    Break("short-of-its-length", LENGTH_50 + EVENT),
]
BREAKS += [broken._replace(name=f"{broken.name}-rst", is_reset=True) for broken in BREAKS]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.name)
async def test_an_upstream_that_breaks_off_never_looks_complete(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, broken: Break, version: str
) -> None:
    seen = asyncio.Event()
    upstream.script = breaks(broken, seen)
    name = f"{broken.name}-{version}"
    await client.send(
        f"GET /open/breaks HTTP/{version}\r\nHost: x\r\nX-Request-Id: {name}\r\n\r\n".encode()
    )
    await client.head()
    await client.until(EVENT)
    seen.set()
    got = await client.rest()
    assert got.ending in (Ending.CUT, Ending.RESET)
    assert got.body.startswith(EVENT)
    line = await gateway.request_line(request_id=name)
    assert (line["status"], line["end_reason"]) == (200, "upstream_closed")


async def test_all_that_came_before_the_break_is_delivered(
    upstream: Upstream, client: RawClient
) -> None:
    seen = asyncio.Event()
    upstream.script = breaks(Break("", EVENT_STREAM + chunk(EVENT), b"5\r\nlast"), seen)
    await client.request("/open/x")
    await client.head()
    await client.until(EVENT)
    seen.set()
    got = await client.rest()
    assert bytes(got.body) == EVENT + b"last"


async def test_a_reset_ends_a_body_that_only_a_close_would_end(
    upstream: Upstream, client: RawClient
) -> None:
    seen = asyncio.Event()
    upstream.script = breaks(Break("", b"HTTP/1.1 200 OK\r\n\r\n" + EVENT, is_reset=True), seen)
    await client.request("/open/x")
    await client.head()
    await client.until(EVENT)
    seen.set()
    assert (await client.rest()).ending in (Ending.CUT, Ending.RESET)


GARBAGE_CHUNKS = [
    b"0x5\r\nhello\r\n",
    b"5_0\r\nhello\r\n",
    b"+5\r\nhello\r\n",
    b"-5\r\nhello\r\n",
    b"five\r\nhello\r\n",
    b"\r\nhello\r\n",
    b"fffffffffffffffff\r\nhello\r\n",
    b"5\r\nhello, world\r\n",
    b"5 5\r\nhello\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE_CHUNKS, ids=lambda garbage: garbage[:12].decode())
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_garbage_in_the_framing_is_a_cut(
    upstream: Upstream, client: RawClient, garbage: bytes, version: str
) -> None:
    seen = asyncio.Event()
    rest = garbage + b"0\r\n\r\n"
    upstream.script = breaks(Break("", EVENT_STREAM + chunk(EVENT), rest), seen)
    await client.send(f"GET /open/x HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    await client.head()
    await client.until(EVENT)
    seen.set()
    got = await client.rest()
    assert got.ending in (Ending.CUT, Ending.RESET)


@pytest.mark.parametrize("garbage", GARBAGE_CHUNKS, ids=lambda garbage: garbage[:12].decode())
async def test_garbage_that_comes_with_the_head_is_never_a_clean_200(
    upstream: Upstream, client: RawClient, garbage: bytes
) -> None:
    upstream.script = sends(EVENT_STREAM + garbage + b"0\r\n\r\n")
    got = await client.fetch("/open/x")
    assert got.status == 502 or got.ending in (Ending.CUT, Ending.RESET)


BAD_HEADS = {
    "not-http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "bad-status": b"HTTP/1.1 abc OK\r\n\r\n",
    "no-status": b"HTTP/1.1\r\n\r\n",
    "long-status": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "low-status": b"HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n",
    "http-2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "space-in-name": b"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n",
    "nul-in-value": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "no-colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n",
    "length-and-chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunked-and-length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"
    b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "signed-length": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "negative-length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "underscored-length": b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\nhellohello",
    "huge-length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
    "unknown-coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunky\r\n\r\nhello",
    "chunked-not-last": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello",
    "too-large": b"HTTP/1.1 200 OK\r\n" + b"X-Large: " + b"x" * 80_000 + b"\r\n\r\n",
    "too-many": b"HTTP/1.1 200 OK\r\n" + b"X-Many: 0123456789\r\n" * 5000 + b"\r\n",
    "unasked-upgrade": b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: x\r\nConnection: upgrade\r\n\r\n",
    "half-a-head": b"HTTP/1.1 200 OK\r\nContent-Le",
}


@pytest.mark.parametrize("head", BAD_HEADS.values(), ids=BAD_HEADS.keys())
async def test_a_bad_head_is_a_502(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, head: bytes
) -> None:
    upstream.script = sends(head)
    got = await client.fetch("/open/x")
    assert (got.status, got.interim, got.ending) == (502, [], Ending.CLEAN)
    assert got.value("Content-Type") == "application/problem+json"
    assert got.json()["code"] == "upstream_bad_response"
    line = await gateway.request_line(request_id=got.json()["request_id"])
    assert line["end_reason"] in ("upstream_closed", "error")


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_an_upstream_that_leaves_before_its_head_is_a_502(
    upstream: Upstream, client: RawClient, reset: bool
) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.reset() if reset else exchange.finish()

    upstream.script = script
    got = await client.fetch("/open/x")
    assert got.status == 502
    assert got.json()["code"] in ("upstream_bad_response", "upstream_unreachable")


async def test_the_connection_serves_on_after_a_502(upstream: Upstream, client: RawClient) -> None:
    upstream.script = sends(b"garbage\r\n\r\n")
    assert (await client.fetch("/open/x")).status == 502
    upstream.script = answers(b"well again")
    assert (await client.fetch("/open/x")).body == b"well again"


@pytest.mark.parametrize(
    "answer",
    [
        response(b"hello") + response(b"poison"),
        EVENT_STREAM + chunk(b"hello") + b"0\r\n\r\n" + response(b"poison"),
        b"HTTP/1.1 204 No Content\r\n\r\npoison",
    ],
    ids=["content-length", "chunked", "no-body"],
)
async def test_bytes_after_a_response_never_reach_the_next_request(
    upstream: Upstream, client: RawClient, answer: bytes
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(answer)
        await exchange.until_gone()

    upstream.script = script
    got = await client.fetch("/open/first")
    assert b"poison" not in got.body
    upstream.script = answers(b"honest")
    got = await client.fetch("/open/second")
    assert got.body == b"honest"
    assert upstream.connections == 2


async def test_a_cut_response_frees_the_upstream(upstream: Upstream, client: RawClient) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(EVENT) + b"garbage\r\n")
        await exchange.until_gone()

    upstream.script = script
    await client.request("/open/x")
    exchange = await upstream.exchange()
    await exchange.gone_at()
