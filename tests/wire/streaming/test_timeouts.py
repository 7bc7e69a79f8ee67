"""Each bound on time is held: a 504 before the head, a cut after it, nothing where none is set."""

import asyncio
import time

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import Ending, RawClient
from tests.support.upstream import (
    EVENT_STREAM,
    LAST_CHUNK,
    Exchange,
    Script,
    Upstream,
    chunk,
    never_answers,
)

SLACK = 5.0  # seconds that a busy machine may add
PLAIN_200 = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"


def starts(head: bytes) -> Script:
    """A script: a head, one event, then silence."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(head + chunk(b"data: 1\n\n"))
        await exchange.until_gone()

    return script


async def trickles(exchange: Exchange) -> None:
    """Send an event every 50 ms without end."""
    await exchange.send(EVENT_STREAM)
    while True:
        await exchange.send(chunk(b"data: 1\n\n"))
        await asyncio.sleep(0.05)


async def assert_504(gateway: GatewayProcess, client: RawClient, target: str, after: float) -> str:
    """Fetch; a 504 must come, not before its time. Its end_reason is returned."""
    began = time.monotonic()
    got = await client.fetch(target)
    assert after <= time.monotonic() - began < after + SLACK
    assert (got.status, got.json()["code"]) == (504, "upstream_timeout")
    line = await gateway.request_line(request_id=got.json()["request_id"])
    return str(line["end_reason"])


async def test_an_upstream_that_does_not_accept_is_a_504(
    gateway: GatewayProcess, client: RawClient
) -> None:
    assert await assert_504(gateway, client, "/connect-timeout", 0.3) == "upstream_timeout"


async def test_an_upstream_without_a_head_is_a_504_and_let_go(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    upstream.script = never_answers
    assert await assert_504(gateway, client, "/first-byte-timeout", 0.3) == "upstream_timeout"
    await (await upstream.exchange()).gone_at()


async def test_the_total_bound_counts_before_the_head_too(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    upstream.script = never_answers
    assert await assert_504(gateway, client, "/total-timeout", 1.0) == "total_timeout"


async def assert_cut(
    gateway: GatewayProcess, client: RawClient, target: str, end_reason: str
) -> None:
    """Fetch; the response must start, and be cut in its time for this reason."""
    name = f"{end_reason}-{time.monotonic_ns()}"
    began = time.monotonic()
    await client.request(target, f"X-Request-Id: {name}")
    await client.head()
    await client.until(b"data: 1\n\n")
    got = await client.rest()
    assert got.ending in (Ending.CUT, Ending.RESET)
    assert 1.0 <= time.monotonic() - began < 1.0 + SLACK
    line = await gateway.request_line(request_id=name)
    assert (line["status"], line["end_reason"]) == (200, end_reason)


@pytest.mark.parametrize("head", [EVENT_STREAM, PLAIN_200], ids=["stream", "plain"])
async def test_a_silence_over_the_idle_timeout_is_cut_and_the_upstream_let_go(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, head: bytes
) -> None:
    upstream.script = starts(head)
    await assert_cut(gateway, client, "/idle-timeout", "upstream_timeout")
    await (await upstream.exchange()).gone_at()


@pytest.mark.parametrize("head", [EVENT_STREAM, PLAIN_200], ids=["stream", "plain"])
async def test_an_exchange_over_its_timeout_is_cut(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, head: bytes
) -> None:
    upstream.script = starts(head)
    await assert_cut(gateway, client, "/total-timeout", "total_timeout")


async def test_a_timeout_cuts_a_stream_that_talks_all_the_time(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    upstream.script = trickles
    await assert_cut(gateway, client, "/total-timeout", "total_timeout")
    await (await upstream.exchange()).gone_at()


async def test_an_upstream_that_talks_is_not_idle(upstream: Upstream, client: RawClient) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)
        for _ in range(6):
            await asyncio.sleep(0.25)
            await exchange.send(chunk(b"data: 1\n\n"))
        await exchange.send(LAST_CHUNK)

    upstream.script = script
    got = await client.fetch("/idle-timeout")
    assert (got.ending, bytes(got.body)) == (Ending.CLEAN, b"data: 1\n\n" * 6)


@pytest.mark.parametrize("target", ["/first-byte-timeout", "/open/stream"])
async def test_a_stream_without_an_idle_timeout_may_be_silent(
    upstream: Upstream, client: RawClient, target: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await asyncio.sleep(1.2)
        await exchange.send(chunk(b"data: 2\n\n") + LAST_CHUNK)

    upstream.script = script
    assert (await client.fetch(target)).body == b"data: 1\n\ndata: 2\n\n"


async def test_an_upload_that_takes_its_time_does_not_count_as_the_upstreams_silence(
    upstream: Upstream, client: RawClient
) -> None:
    await client.send(
        b"POST /first-byte-timeout HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab"
    )
    await upstream.exchange()
    await asyncio.sleep(0.6)
    await client.send(b"cd")
    await client.head()
    assert (await client.rest()).json()["body"] == "abcd"
