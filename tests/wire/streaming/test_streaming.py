"""Bytes leave as they come, and they are the bytes that came."""

import asyncio
import gzip
import random

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import Ending, RawClient
from tests.support.upstream import (
    EVENT_STREAM,
    LAST_CHUNK,
    Exchange,
    Script,
    Upstream,
    answers,
    chunk,
    response,
    sends,
)
from tests.wire.conftest import Connect

FIRST, SECOND = b"data: 1\n\n", b"data: 2\n\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def confirmed(head: bytes, first: bytes, second: bytes, seen: asyncio.Event) -> Script:
    """A script: send the second only after the first was seen at the far end."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(head + first)
        await seen.wait()
        await exchange.send(second)
        exchange.finish()

    return script


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((EVENT_STREAM, chunk(FIRST), chunk(SECOND) + LAST_CHUNK), id="chunked"),
        pytest.param((PLAIN + b"Content-Length: 18\r\n\r\n", FIRST, SECOND), id="length"),
        pytest.param((PLAIN + b"\r\n", FIRST, SECOND), id="until-close"),
        pytest.param((PLAIN.replace(b"1.1", b"1.0") + b"\r\n", FIRST, SECOND), id="http-1.0"),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_an_event_arrives_before_the_next_one_is_made(
    upstream: Upstream, client: RawClient, pieces: tuple[bytes, bytes, bytes], version: str
) -> None:
    seen = asyncio.Event()
    upstream.script = confirmed(*pieces, seen)
    await client.send(f"GET /open/events HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    await client.head()
    got = await client.until(FIRST)
    assert got.body == FIRST
    seen.set()
    got = await client.rest()
    assert (bytes(got.body), got.ending) == (FIRST + SECOND, Ending.CLEAN)


async def test_an_http_1_0_client_gets_no_chunks(upstream: Upstream, client: RawClient) -> None:
    upstream.script = sends(EVENT_STREAM, chunk(FIRST), LAST_CHUNK)
    await client.send(b"GET /open/events HTTP/1.0\r\n\r\n")
    got = await client.head()
    assert got.value("Transfer-Encoding") is None
    assert (await client.rest()).body == FIRST


async def test_the_head_arrives_before_any_body_byte(upstream: Upstream, client: RawClient) -> None:
    seen = asyncio.Event()
    upstream.script = confirmed(EVENT_STREAM, b"", chunk(FIRST) + LAST_CHUNK, seen)
    await client.request("/open/events")
    got = await client.head()
    assert (got.status, bytes(got.body)) == (200, b"")
    seen.set()
    assert (await client.rest()).body == FIRST


async def test_half_an_event_is_not_held_back(upstream: Upstream, client: RawClient) -> None:
    seen = asyncio.Event()
    upstream.script = confirmed(EVENT_STREAM, b"9\r\ndata", b": 1\n\n\r\n" + LAST_CHUNK, seen)
    await client.request("/open/events")
    await client.head()
    assert (await client.until(b"data")).body == b"data"
    seen.set()
    assert (await client.rest()).body == FIRST


@pytest.mark.parametrize("slice_size", [1000, 4096, 100_000])
async def test_the_payload_is_the_same_to_the_byte(
    upstream: Upstream, client: RawClient, slice_size: int
) -> None:
    dice = random.Random(slice_size)
    payload = [dice.randbytes(size) for size in (1, 2, 7, 15, 16, 1023, 16384, 65537, 300_001)]
    wire = b"".join(map(chunk, payload)) + LAST_CHUNK
    slices = [wire[at : at + slice_size] for at in range(0, len(wire), slice_size)]
    upstream.script = sends(EVENT_STREAM, *slices)
    got = await client.fetch("/open/bytes")
    assert got.ending is Ending.CLEAN
    assert got.body == b"".join(payload)


async def test_every_byte_may_come_alone(upstream: Upstream, client: RawClient) -> None:
    wire = EVENT_STREAM + chunk(FIRST) + chunk(SECOND) + LAST_CHUNK
    upstream.script = sends(*(wire[at : at + 1] for at in range(len(wire))))
    got = await client.fetch("/open/bytes")
    assert (bytes(got.body), got.ending) == (FIRST + SECOND, Ending.CLEAN)


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"5;name=value\r\nhello\r\n0;last\r\n\r\n", id="extensions"),
        pytest.param(b'5;name="a b"\r\nhello\r\n0\r\n\r\n', id="quoted-extension"),
        pytest.param(b"00005\r\nhello\r\n000\r\n\r\n", id="leading-zeros"),
        pytest.param(b"5\r\nhello\r\n0\r\nX-Sum: 5\r\nX-More: 1\r\n\r\n", id="trailers"),
    ],
)
async def test_what_chunked_framing_allows_is_understood(
    upstream: Upstream, client: RawClient, wire: bytes
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + wire)

    upstream.script = script
    for _ in range(2):  # the second shows that the end was found: the connection is still in step
        got = await client.fetch("/open/x")
        assert (bytes(got.body), got.ending) == (b"hello", Ending.CLEAN)
    assert upstream.connections == 1


async def test_a_compressed_body_stays_as_it_is(upstream: Upstream, client: RawClient) -> None:
    packed = gzip.compress(b"hello " * 1000)
    upstream.script = answers(packed, "Content-Encoding: gzip", "ETag: W/1")
    got = await client.fetch("/open/x", "Accept-Encoding: gzip")
    assert got.body == packed
    assert got.value("Content-Encoding") == "gzip"
    assert got.value("Content-Length") == str(len(packed))
    assert upstream.request.value("Accept-Encoding") == "gzip"


async def test_a_compressed_body_stays_so_for_a_client_that_asked_for_none(
    upstream: Upstream, client: RawClient
) -> None:
    packed = gzip.compress(b"hello")
    upstream.script = answers(packed, "Content-Encoding: gzip")
    assert (await client.fetch("/open/x")).body == packed
    assert upstream.request.value("Accept-Encoding") is None


async def test_an_empty_body_keeps_its_length(upstream: Upstream, client: RawClient) -> None:
    upstream.script = answers()
    got = await client.fetch("/open/x")
    assert (got.status, got.value("Content-Length"), got.ending) == (200, "0", Ending.CLEAN)


async def test_head_asks_for_head_and_keeps_the_length(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: abc\r\n\r\n")

    upstream.script = script
    for _ in range(2):
        got = await client.fetch("/open/x", method="HEAD")
        assert (got.status, got.value("Content-Length")) == (200, "1234")
    assert [request.method for request in upstream.requests] == ["HEAD", "HEAD"]
    assert upstream.connections == 1


async def test_head_of_a_chunked_answer_has_no_body(upstream: Upstream, client: RawClient) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)

    upstream.script = script
    for _ in range(2):
        assert (await client.fetch("/open/x", method="HEAD")).status == 200


@pytest.mark.parametrize(
    ("status", "header"), [("204 No Content", "X-A: 1"), ("304 Not Modified", "ETag: abc")]
)
async def test_a_response_without_a_body_leaves_the_connection_in_step(
    upstream: Upstream, client: RawClient, status: str, header: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 {status}\r\n{header}\r\n\r\n".encode())

    upstream.script = script
    for _ in range(2):
        got = await client.fetch("/open/x")
        assert f"{got.status} {got.reason.decode()}" == status
        assert got.value("Transfer-Encoding") is None
    assert upstream.connections == 1


async def test_a_304_may_give_the_length_of_what_it_does_not_send(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n")

    upstream.script = script
    for _ in range(2):
        assert (await client.fetch("/open/x")).status == 304


async def test_response_headers_keep_number_order_case_and_bytes(
    upstream: Upstream, client: RawClient
) -> None:
    fields = [
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"x-lower", b"1"),
        (b"X-UPPER", b"2"),
        (b"Set-Cookie", b"b=2; Expires=Wed, 01 Jan 2031 00:00:00 GMT"),
        (b"X-Latin", b"caf\xe9"),
        (b"X-Utf8", "café ✓".encode()),
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"X-Empty", b""),
        (b"x-lower", b"3"),
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    upstream.script = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n")
    got = await client.fetch("/open/x")
    assert [field for field in got.headers if field in fields] == fields


@pytest.mark.parametrize("status", ["299 Something Else", "418 I'm a teapot", "500 Oh no", "503 "])
async def test_the_upstreams_own_status_and_reason_pass(
    upstream: Upstream, client: RawClient, status: str
) -> None:
    upstream.script = answers(b"said the service", status=status)
    got = await client.fetch("/open/x")
    assert f"{got.status} {got.reason.decode()}" == status
    assert got.body == b"said the service"


@pytest.mark.parametrize(
    ("media_type", "is_stream"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream ; charset=utf-8", True),
        ("text/event-stream;charset=utf-8", True),
        ("application/x-ndjson", True),
        ("application/jsonl", True),
        ("application/json-seq", True),
        ("Application/Stream+JSON", True),
        ("multipart/x-mixed-replace; boundary=frame", True),
        ("application/grpc+proto", True),
        ("text/event-streams", False),
        ('application/json; note="text/event-stream"', False),
        ("text/plain", False),
    ],
)
async def test_only_streams_are_marked_as_not_to_be_buffered(
    upstream: Upstream, client: RawClient, media_type: str, is_stream: bool
) -> None:
    upstream.script = answers(FIRST, f"Content-Type: {media_type}")
    got = await client.fetch("/open/x")
    assert got.value("Content-Type") == media_type
    assert got.value("X-Accel-Buffering") == ("no" if is_stream else None)
    is_event_stream = media_type.lower().startswith("text/event-stream") and is_stream
    assert got.value("Cache-Control") == ("no-cache" if is_event_stream else None)


async def test_an_event_streams_own_cache_control_is_kept(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = answers(FIRST, "Content-Type: text/event-stream", "cache-control: no-store")
    assert (await client.fetch("/open/x")).value("Cache-Control") == "no-store"


async def test_interim_responses_do_not_disturb_the_final_one(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n")
        await exchange.send(response(b"hello", "X-Final: 1"))

    upstream.script = script
    for _ in range(2):
        got = await client.fetch("/open/x")
        assert (got.status, got.value("X-Final"), bytes(got.body)) == (200, "1", b"hello")
        assert got.value("Link") is None


async def test_connections_are_kept_on_both_sides(upstream: Upstream, client: RawClient) -> None:
    upstream.script = answers(b"hello")
    for _ in range(5):
        assert (await client.fetch("/open/x")).body == b"hello"
    assert (len(upstream.requests), upstream.connections) == (5, 1)


async def test_a_chunked_stream_that_ended_well_leaves_its_connection_to_the_next(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(FIRST))
        await exchange.send(LAST_CHUNK)

    upstream.script = script
    for _ in range(3):
        assert (await client.fetch("/open/x")).ending is Ending.CLEAN
    assert upstream.connections == 1


async def test_an_upstream_that_says_close_is_not_asked_again_on_that_connection(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = answers(b"hello", "Connection: close")
    for _ in range(3):
        got = await client.fetch("/open/x")
        assert (bytes(got.body), got.value("Connection")) == (b"hello", None)
    assert upstream.connections == 3


async def test_a_kept_connection_that_the_upstream_closed_is_replaced(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = sends(response(b"hello"))
    for _ in range(3):
        got = await client.fetch("/open/x")
        assert (got.status, bytes(got.body)) == (200, b"hello")
    assert upstream.connections == 3


async def test_pipelined_requests_are_answered_in_order(
    upstream: Upstream, client: RawClient
) -> None:
    targets = [f"/open/{number}" for number in range(5)]
    await client.send(b"".join(f"GET {t} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for t in targets))
    for target in targets:
        await client.head()
        assert (await client.rest()).json()["target"] == target


async def test_a_client_that_says_close_gets_a_closed_connection(
    upstream: Upstream, client: RawClient
) -> None:
    got = await client.fetch("/open/x", "Connection: close")
    assert got.ending is Ending.CLEAN
    assert await client.closed() == b""


async def test_a_thousand_events_keep_their_order(upstream: Upstream, client: RawClient) -> None:
    events = [b"id: %d\ndata: x\n\n" % number for number in range(1000)]
    upstream.script = sends(EVENT_STREAM, *map(chunk, events), LAST_CHUNK)
    got = await client.fetch("/open/x", "Accept: text/event-stream")
    assert (bytes(got.body), got.ending) == (b"".join(events), Ending.CLEAN)


async def test_many_streams_run_side_by_side(upstream: Upstream, connect: Connect) -> None:
    seen = asyncio.Event()
    upstream.script = confirmed(EVENT_STREAM, chunk(FIRST), chunk(SECOND) + LAST_CHUNK, seen)
    clients = [await connect() for _ in range(150)]
    for client in clients:
        await client.request("/open/events")
    for client in clients:
        await client.head()
        await client.until(FIRST)
    seen.set()
    for client in clients:
        assert (await client.rest()).ending is Ending.CLEAN


async def test_a_finished_stream_is_printed_in_one_line(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    upstream.script = answers(b"hello", "Content-Type: text/event-stream")
    await client.fetch("/open/told?secret=1", "X-Request-Id: told-1", method="POST", body=b"abc")
    line = await gateway.request_line(request_id="told-1")
    expected = {
        "route": "/open/{rest:path}",
        "method": "POST",
        "path": "/open/told",
        "status": 200,
        "client": "127.0.0.1",
        "bytes_in": 3,
        "bytes_out": 5,
        "end_reason": "complete",
    }
    assert {key: line.get(key) for key in expected} == expected
    assert 0 <= line["first_byte_ms"] <= line["duration_ms"]
    assert {"trace_id", "upstream", "subject"} <= line.keys()
    assert len(gateway.request_lines(request_id="told-1")) == 1
