"""What `stream:` adds to an event stream: signs of life, a last word, and a way to come back."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.support.event_source import EventSource
from tests.support.gateway_process import GatewayProcess, environment
from tests.support.raw_client import Ending, RawClient, Response
from tests.support.routes import Places
from tests.support.tokens import token
from tests.support.upstream import (
    EVENT_STREAM,
    LAST_CHUNK,
    Exchange,
    Script,
    Upstream,
    answers,
    chunk,
    never_answers,
    response,
)
from tests.unit.http.test_event_stream import CASES
from tests.wire.conftest import Connect, StartGateway

ROUTES = """\
auth: {{leeway: 0s}}
defaults:
  auth_required: false
  proxy_upstream: http://127.0.0.1:{service}
  stream: {{heartbeat: 100ms, error_event: message, transient_errors: retry}}
routes:
- path: /stream
- path: /restless
  stream: {{heartbeat: 1ms}}
- path: /named
  timeout: 500ms
  stream: {{error_event: gateway-error}}
- path: /total
  timeout: 500ms
- path: /idle
  idle_timeout: 500ms
- path: /first-byte
  first_byte_timeout: 300ms
- path: /first-byte-status
  first_byte_timeout: 300ms
  stream: {{error_event: message}}
- path: /dead
  proxy_upstream: http://127.0.0.1:{dead}
  cors: {{origins: ["https://app.example.com"]}}
- path: /private
  auth_required: true
  stream: {{error_event: message, transient_errors: retry, close_on_token_expiry: true}}
- path: /off
  timeout: 500ms
  stream: none
"""
EVENTS = "Accept: text/event-stream"
EVENT = b'data: {"status": "processing", "progress": 40}\n\n'
HEARTBEAT = b": keep-alive\n"
SILENCE = 0.3  # seconds: several heartbeats


@pytest.fixture(scope="module")
def gateway(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that speaks in its streams; it ends cleanly."""
    routes = ROUTES.format(
        service=places.service.getsockname()[1], dead=places.dead.getsockname()[1]
    )
    directory = tmp_path_factory.mktemp("stream-options")
    gateway = GatewayProcess.serve(routes, directory, env=environment())
    yield gateway
    assert gateway.stop() == 0, gateway.output
    assert gateway.error_output == ""
    assert "Traceback" not in gateway.output


@pytest.fixture(autouse=True)
async def stands(upstream: Upstream) -> None:
    """The service sends one event, and is silent, unless a test has it do something else."""
    upstream.script = starts(EVENT)


def starts(*parts: bytes, head: bytes = EVENT_STREAM) -> Script:
    """A script: a head, these parts of the body, then silence."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(head + b"".join(map(chunk, parts)))
        await exchange.until_gone()

    return script


def pauses(*parts: bytes) -> Script:
    """A script: these parts of the body with a silence before each, and a complete end."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)
        for part in parts:
            await asyncio.sleep(SILENCE)
            await exchange.send(chunk(part))
        await exchange.send(LAST_CHUNK)

    return script


def last_event(got: Response) -> dict[str, Any]:
    """The data of the last event, which must be the last thing of the body too."""
    assert got.body.endswith(b"\n\n")
    last: dict[str, Any] = json.loads(EventSource.read(bytes(got.body)).events[-1].data)
    return last


def assert_reported(got: Response, code: str, progress: int = 40) -> None:
    """The stream ended whole, with the event that says why."""
    last = last_event(got)
    assert last.pop("message")
    assert last == {
        "status": "error",
        "progress": progress,
        "step": "gateway",
        "data": {"code": code},
    }
    assert got.ending is Ending.CLEAN


# Heartbeats


async def test_a_silent_stream_beats_before_its_first_event_and_between_events(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = pauses(EVENT, EVENT)
    got = await client.fetch("/stream")
    before, between, _ = bytes(got.body).split(EVENT)
    assert before.startswith(HEARTBEAT)
    assert between.startswith(HEARTBEAT)
    assert bytes(got.body).replace(HEARTBEAT, b"") == EVENT * 2
    assert got.ending is Ending.CLEAN


async def test_heartbeats_come_after_their_silence_and_no_sooner(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = starts()
    await client.request("/stream")
    got = await client.head()
    await client.take(5 * len(HEARTBEAT))
    assert bytes(got.body) == HEARTBEAT * 5
    assert got.arrivals[-1] - got.arrivals[0] >= 0.45
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(got.arrivals))


async def test_no_heartbeat_comes_into_an_event(upstream: Upstream, client: RawClient) -> None:
    for parts in ((b"data: 1\n", b"\n"), (b"data: 1\r", b"\n\r\n"), (b"event: x", b"\ndata\n\n")):
        upstream.script = pauses(*parts)
        got = await client.fetch("/stream")
        assert b"".join(parts) in got.body
        assert bytes(got.body).replace(HEARTBEAT, b"") == b"".join(parts)


async def test_a_stream_that_talks_gets_no_heartbeat(upstream: Upstream, client: RawClient) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)
        for _ in range(400):
            await exchange.send(chunk(EVENT))
            await asyncio.sleep(0.001)
        await exchange.send(LAST_CHUNK)

    upstream.script = script
    got = await client.fetch("/stream")
    spans = [later - earlier for earlier, later in pairwise(got.arrivals)]
    if max(spans) < 0.05:  # else the machine itself was silent for long
        assert bytes(got.body) == EVENT * 400


async def test_heartbeats_are_no_sign_of_life_of_the_service(
    gateway: GatewayProcess, client: RawClient, upstream: Upstream
) -> None:
    got = await client.fetch("/idle", "X-Request-Id: idle")
    assert HEARTBEAT in got.body
    assert_reported(got, "upstream_timeout")
    line = await gateway.request_line(request_id="idle")
    assert (line["end_reason"], line["error"]) == ("upstream_timeout", "idle_timeout")
    await (await upstream.exchange()).gone_at()


@pytest.mark.parametrize(
    "head",
    [
        EVENT_STREAM.replace(b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(EVENT)),
        EVENT_STREAM[:-2] + b"Content-Encoding: gzip\r\n\r\n",
        EVENT_STREAM.replace(b"text/event-stream", b"text/plain"),
        EVENT_STREAM.replace(b"200 OK", b"203 OK"),
    ],
    ids=["with a length", "compressed", "no event stream", "no 200"],
)
async def test_what_takes_no_inserted_byte_stays_as_it_is(
    upstream: Upstream, client: RawClient, head: bytes
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(head)
        await asyncio.sleep(SILENCE)
        await exchange.send(EVENT if b"Length" in head else chunk(EVENT) + LAST_CHUNK)

    upstream.script = script
    got = await client.fetch("/stream")
    assert (bytes(got.body), got.ending) == (EVENT, Ending.CLEAN)


async def test_each_case_of_the_standard_reads_the_same_byte_by_byte_with_heartbeats(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)
        for at in range(len(stream)):
            await asyncio.sleep(0.002 if len(stream) < 100 else 0)
            await exchange.send(chunk(stream[at : at + 1]))
        await exchange.send(LAST_CHUNK)

    upstream.script = script
    beats = 0
    for stream, _ in CASES.values():
        got = await client.fetch("/restless")
        beats += got.body.count(HEARTBEAT)
        assert EventSource.read(bytes(got.body)).events == EventSource.read(stream).events
        assert got.ending is Ending.CLEAN
    assert beats > 0


# The last word


async def test_a_stream_over_its_time_says_so(gateway: GatewayProcess, client: RawClient) -> None:
    got = await client.fetch("/total", "X-Request-Id: total")
    assert_reported(got, "upstream_timeout")
    line = await gateway.request_line(request_id="total")
    assert (line["status"], line["end_reason"]) == (200, "total_timeout")


@pytest.mark.parametrize("is_reset", [True, False])
async def test_a_service_that_is_lost_is_reported(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, is_reset: bool
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(EVENT))
        await seen.wait()
        if is_reset:
            exchange.reset()
        else:
            exchange.finish()

    seen = asyncio.Event()
    upstream.script = script
    name = f"lost-{is_reset}"
    await client.request("/stream", f"X-Request-Id: {name}")
    await client.head()
    await client.until(EVENT)
    seen.set()
    assert_reported(await client.rest(), "upstream_closed")
    assert (await gateway.request_line(request_id=name))["end_reason"] == "upstream_closed"


async def test_before_the_first_event_the_progress_is_none(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = starts()
    assert_reported(await client.fetch("/total"), "upstream_timeout", progress=0)


async def test_the_connection_serves_on_after_a_last_word(
    upstream: Upstream, client: RawClient
) -> None:
    assert_reported(await client.fetch("/total"), "upstream_timeout")
    upstream.script = answers(b"hello")
    assert (await client.fetch("/stream")).body == b"hello"


async def test_the_event_has_the_type_that_the_route_gives_it(client: RawClient) -> None:
    got = await client.fetch("/named")
    assert [event.type for event in EventSource.read(bytes(got.body)).events] == [
        "message",
        "gateway-error",
    ]


@pytest.mark.parametrize("part", [b"data: 1", b"data: 1\n", b"id: 1\r\n", b": half a comment"])
async def test_a_stream_that_ends_inside_an_event_is_cut(
    upstream: Upstream, client: RawClient, part: bytes
) -> None:
    upstream.script = starts(EVENT, part)
    got = await client.fetch("/total")
    assert bytes(got.body) == EVENT + part
    assert got.ending in (Ending.CUT, Ending.RESET)


async def test_a_complete_stream_gets_no_word(upstream: Upstream, client: RawClient) -> None:
    upstream.script = pauses(EVENT)
    got = await client.fetch("/stream")
    assert (bytes(got.body).replace(HEARTBEAT, b""), got.ending) == (EVENT, Ending.CLEAN)


async def test_a_route_without_the_options_stays_byte_for_byte_and_is_cut(
    client: RawClient,
) -> None:
    got = await client.fetch("/off")
    assert bytes(got.body) == EVENT
    assert got.ending in (Ending.CUT, Ending.RESET)


async def test_an_http_10_client_gets_it_all_without_chunks(client: RawClient) -> None:
    await client.send(b"GET /idle HTTP/1.0\r\nHost: x\r\n\r\n")
    await client.head()
    got = await client.rest()
    assert got.value("Transfer-Encoding") is None
    assert HEARTBEAT in got.body
    assert_reported(got, "upstream_timeout")


async def test_a_browser_that_takes_nothing_gets_neither_a_heartbeat_nor_a_last_word(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)
        while True:
            await exchange.send(chunk(b"data: " + b"x" * 65536 + b"\n\n"))

    upstream.script = script
    client = await connect(receive_buffer=4096)
    await client.request("/total", "X-Request-Id: stalled")
    line = await gateway.request_line(request_id="stalled")
    assert line["end_reason"] == "total_timeout"
    await client.head()
    got = await client.rest()
    assert got.ending in (Ending.CUT, Ending.RESET)
    assert HEARTBEAT not in got.body
    assert b"gateway" not in got.body


# The token's end


async def test_a_stream_ends_with_its_token(gateway: GatewayProcess, client: RawClient) -> None:
    text = token(ttl=2)
    began = time.time()
    got = await client.fetch(f"/private?token={text}", "X-Request-Id: expired")
    assert 0.5 < time.time() - began < 2 + SILENCE * 10
    assert_reported(got, "token_expired")
    assert (await gateway.request_line(request_id="expired"))["end_reason"] == "token_expired"
    again = await client.fetch(f"/private?token={text}", EVENTS)
    assert (again.status, again.json()["code"]) == (401, "token_expired")


async def test_a_token_is_good_for_a_stream_as_long_as_for_a_request(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    """With the leeway: else a browser would come back to a stream that ends at once."""
    service.script = starts(EVENT)
    gateway = start_gateway(
        "auth: {leeway: 2s}\nroutes:\n- path: /private\n  proxy_upstream: $SERVICE\n"
        "  stream: {close_on_token_expiry: true}\n"
    )
    client = await connect(gateway.port)
    expired = int(time.time())
    got = await client.fetch(f"/private?token={token(exp=expired)}")
    assert time.time() >= expired + 2
    assert (bytes(got.body), got.ending) == (EVENT, Ending.CUT)


# Drain


async def test_a_drain_is_announced_to_each_stream_with_the_time_to_reconnect(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = starts(EVENT)
    gateway = start_gateway(
        "- path: /stream\n  auth_required: false\n  proxy_upstream: $SERVICE\n"
        "  stream: {error_event: message, transient_errors: retry}\n",
        "--drain-timeout",
        "500ms",
    )
    client = await connect(gateway.port)
    await client.request("/stream", EVENTS)
    await client.head()
    await client.until(EVENT)
    gateway.signal(signal.SIGTERM)
    got = await client.rest()
    assert_reported(got, "draining")
    retry = EventSource.read(bytes(got.body)).retry
    assert retry is not None
    assert 3000 <= retry <= 5000
    assert await client.closed() == b""
    assert await asyncio.to_thread(gateway.exit_code) == 0
    assert gateway.request_lines()[-1]["end_reason"] == "drained"
    assert gateway.error_output == ""


# Transient errors


def assert_retry(got: Response, code: str, least: int = 3000, most: int = 5000) -> None:
    """A 200 that says only when to come back, and why."""
    assert (got.status, got.value("Content-Type")) == (200, "text/event-stream")
    assert got.value("Cache-Control") == "no-store"
    assert got.value("X-Request-Id")
    assert got.value("Retry-After") is None
    source = EventSource.read(bytes(got.body))
    assert source.events == []
    assert source.retry is not None
    assert least <= source.retry <= most
    assert got.body.startswith(f": {code}\n".encode())
    assert got.ending is Ending.CLEAN


async def test_a_service_that_is_down_makes_an_event_source_try_again(
    gateway: GatewayProcess, client: RawClient
) -> None:
    assert_retry(await client.fetch("/dead", EVENTS, "X-Request-Id: dead"), "upstream_unreachable")
    got = await client.fetch("/dead", EVENTS, "Origin: https://app.example.com")
    assert_retry(got, "upstream_unreachable")
    assert got.value("Access-Control-Allow-Origin") == "https://app.example.com"
    line = await gateway.request_line(request_id="dead")
    assert (line["status"], line["code"]) == (502, "upstream_unreachable")
    assert line["end_reason"] == "error"


@pytest.mark.parametrize("accept", ["Accept: */*", "Accept: text/html", "X-Accept: none"])
async def test_a_client_that_is_no_event_source_gets_the_status(
    client: RawClient, accept: str
) -> None:
    got = await client.fetch("/dead", accept)
    assert (got.status, got.json()["code"]) == (502, "upstream_unreachable")


async def test_a_service_that_does_not_answer_in_time_makes_an_event_source_try_again(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    upstream.script = never_answers
    got = await client.fetch("/first-byte", EVENTS, "X-Request-Id: late")
    assert_retry(got, "upstream_timeout")
    line = await gateway.request_line(request_id="late")
    assert (line["status"], line["end_reason"]) == (504, "upstream_timeout")
    got = await client.fetch("/first-byte-status", EVENTS)
    assert (got.status, got.json()["code"]) == (504, "upstream_timeout")


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_services_own_transient_error_makes_an_event_source_try_again(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, status: int
) -> None:
    upstream.script = answers(b"busy", "Retry-After: 20", status=f"{status} Busy")
    name = f"own-{status}"
    got = await client.fetch("/stream", EVENTS, f"X-Request-Id: {name}")
    assert_retry(got, "upstream_error", 20_000, 22_000)
    line = await gateway.request_line(request_id=name)
    assert (line["status"], line["code"]) == (status, "upstream_error")
    assert line["error"] == f"the service answered {status}"
    upstream.script = answers(b"hello")
    assert (await client.fetch("/stream", EVENTS)).body == b"hello"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 501])
async def test_an_error_that_will_not_pass_is_no_reason_to_try_again(
    upstream: Upstream, client: RawClient, status: int
) -> None:
    upstream.script = answers(b"no", status=f"{status} No")
    got = await client.fetch("/stream", EVENTS)
    assert (got.status, bytes(got.body)) == (status, b"no")


async def test_a_missing_token_is_no_reason_to_try_again(client: RawClient) -> None:
    assert (await client.fetch("/private", EVENTS)).status == 401


async def test_without_the_option_a_services_error_passes(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = answers(b"busy", status="503 Busy")
    assert (await client.fetch("/off", EVENTS)).status == 503


async def test_a_draining_gateway_makes_an_event_source_try_again_elsewhere(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = starts(EVENT)
    gateway = start_gateway(
        "- path: /stream\n  auth_required: false\n  proxy_upstream: $SERVICE\n"
        "  stream: {transient_errors: retry}\n",
        "--drain-timeout",
        "3s",
    )
    first, second = await connect(gateway.port), await connect(gateway.port)
    await first.request("/stream")
    await first.head()
    await second.send(f"GET /stream HTTP/1.1\r\nHost: x\r\n{EVENTS}\r\n".encode())
    gateway.signal(signal.SIGTERM)
    await asyncio.to_thread(gateway.await_output, '"draining"')
    async with asyncio.timeout(10):
        while True:
            try:
                (await connect(gateway.port)).close()
            except ConnectionError:
                break
    await second.send(b"\r\n")
    await second.head()
    got = await second.rest()
    assert_retry(got, "draining", 1000, 3000)
    assert got.value("Connection") == "close"


async def test_a_whole_response_is_not_changed_by_any_option(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(response(b"<p>hello", "Content-Type: text/html"))

    upstream.script = script
    got = await client.fetch("/stream", EVENTS)
    assert (got.status, bytes(got.body)) == (200, b"<p>hello")
