"""A request head has bounds in size and time, and its refusal is one like every other."""

import asyncio
from contextlib import suppress

from structlog.testing import capture_logs

from gateway.config.model import MAX_HEADER_SIZE, Limits
from tests.support.raw_client import RawClient
from tests.support.serving import GET, browser, malformed, ok, serving

# A head that never ends


HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: h\r\n"
LINE = b"X-Line: " + b"x" * 990 + b"\r\n"


async def test_a_head_that_grows_past_the_limit_is_refused_before_its_end() -> None:
    with capture_logs() as lines:
        async with serving(malformed) as port, browser(port) as client:
            await client.send(HALF_A_HEAD)
            for _ in range(MAX_HEADER_SIZE // len(LINE) + 1):
                await client.send(LINE)
            assert (await client.head()).status == 431
            assert (await client.rest()).json()["code"] == "headers_too_large"
            await client.closed()
    assert [line["code"] for line in lines if line["event"] == "request"] == ["headers_too_large"]


async def test_heads_in_pieces_are_measured_each_for_itself() -> None:
    async with serving(ok) as port, browser(port) as client:
        for number in range(4):
            await client.send(b"GET /%d HTTP/1.1\r\nHost: h\r\n" % number)
            await client.send(LINE * 20)
            await client.send(b"\r\n")
            assert (await client.head()).status == 200
            assert (await client.rest()).body == b"/%d" % number


async def test_a_large_body_is_no_large_head() -> None:
    size = 2 * MAX_HEADER_SIZE
    async with serving(ok) as port, browser(port) as client:
        await client.send(b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 1024):
            await client.send(b"x" * 1024)
        await client.send(GET)
        for path in (b"/1", b"/"):
            assert (await client.head()).status == 200
            assert bytes((await client.rest()).body) == path


async def test_a_head_has_the_bound_that_it_is_given() -> None:
    limits = Limits(max_header_size=4 * MAX_HEADER_SIZE)
    head = GET.removesuffix(b"\r\n") + LINE * 100 + b"\r\n"
    async with serving(ok, limits) as port, browser(port) as client:
        await client.send(head)
        assert (await client.head()).status == 200
        await client.rest()
        await client.send(HALF_A_HEAD + LINE * 200)
        assert (await client.head()).status == 431


# A head that takes its time


QUICK = Limits(header_timeout=0.2)


async def test_a_head_that_takes_too_long_is_refused_though_bytes_keep_coming() -> None:
    with capture_logs() as lines:
        async with serving(malformed, QUICK) as port, browser(port) as client:
            with suppress(ConnectionError):
                await trickled(client, HALF_A_HEAD)
            assert (await client.head()).status == 408
            assert (await client.rest()).json()["code"] == "request_timeout"
            await client.closed()
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["code"]) == (408, "request_timeout")
    assert (line["client"], line["end_reason"]) == ("127.0.0.1", "refused")


async def trickled(client: RawClient, head: bytes) -> None:
    for byte in head:
        await client.send(bytes([byte]))
        await asyncio.sleep(0.02)


async def test_a_connection_on_which_nothing_comes_is_closed_without_a_word() -> None:
    with capture_logs() as lines:
        async with serving(malformed, QUICK) as port, browser(port) as client:
            assert await client.closed() == b""
    assert lines == []


async def test_a_head_in_time_may_be_followed_by_a_longer_silence() -> None:
    async with serving(ok, QUICK) as port, browser(port) as client:
        for _ in range(2):
            await client.send(HALF_A_HEAD)
            await client.send(b"\r\n")
            assert (await client.head()).status == 200
            await client.rest()
            await asyncio.sleep(3 * (QUICK.header_timeout or 0))


async def test_a_second_head_that_takes_too_long_is_refused_like_the_first() -> None:
    async with serving(ok, QUICK) as port, browser(port) as client:
        await client.send(GET)
        assert (await client.head()).status == 200
        await client.rest()
        await client.send(HALF_A_HEAD)
        assert (await client.head()).status == 408


async def test_a_head_without_a_bound_may_take_its_time() -> None:
    async with serving(ok, Limits(header_timeout=None)) as port, browser(port) as client:
        await trickled(client, GET)
        assert (await client.head()).status == 200
