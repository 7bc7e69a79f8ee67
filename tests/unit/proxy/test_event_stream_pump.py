"""Where the gateway may speak in a stream, it does so between events and to who listens."""

import asyncio
import json
import time

import pytest

from gateway.config.model import StreamOptions, Timeouts
from gateway.http.errors import BODY_TOO_LARGE, UPSTREAM_BAD_RESPONSE, Rejection
from gateway.http.event_stream import HEARTBEAT
from gateway.http.response_parser import ResponseHead
from gateway.proxy.event_stream_pump import StreamTerms
from gateway.telemetry.exchange import EndReason
from tests.support.event_source import EventSource
from tests.support.raw_client import Ending, RawClient
from tests.support.stage import STREAM, UNBOUNDED, Open, Stage, over, response_of

EVENT = b'data: {"progress": 40}\n\n'
BEAT = 0.05  # seconds
SPEAKING = StreamTerms(StreamOptions(BEAT, "message"), None, wants_retry=False)
SILENT = StreamTerms(StreamOptions(None, "message"), None, wants_retry=False)
SOFT = StreamTerms(StreamOptions(retries_transient=True), None, wants_retry=True)
LARGE = b"data: " + b"a" * (16 << 20) + b"\n\n"


def head(
    *headers: tuple[bytes, bytes], status: int = 200, has_length: bool = False
) -> ResponseHead:
    return ResponseHead(status, b"", [*STREAM.headers, *headers], True, has_length)


def starts(stage: Stage, response: ResponseHead, *bodies: bytes) -> None:
    """Play the service: the head, and these bytes of the body."""
    stage.pipe.head(response)
    stage.pipe.takes_chunks()
    stage.pipe.head_read()
    for body in bodies:
        stage.pipe.body(body)


def last_word(body: bytearray) -> dict[str, object]:
    word: dict[str, object] = json.loads(EventSource.read(bytes(body)).events[-1].data)
    return word


# Where it may speak


@pytest.mark.parametrize(
    "response",
    [
        head((b"Content-Encoding", b"gzip")),
        head((b"Content-Encoding", b"identity"), (b"Content-Encoding", b"br")),
        head((b"Content-Length", b"99"), has_length=True),
        head(status=201),
        ResponseHead(200, b"OK", [(b"Content-Type", b"text/plain")], True, False),
    ],
    ids=["compressed", "compressed twice", "with a length", "not a 200", "no event stream"],
)
async def test_what_takes_no_words_stays_as_it_is_and_is_cut(
    open_stage: Open, response: ResponseHead
) -> None:
    stage, client = await open_stage(terms=SPEAKING)
    starts(stage, response, EVENT)
    await asyncio.sleep(3 * BEAT)
    stage.pipe.end(EndReason.DRAINED)
    got = await response_of(client)
    assert (bytes(got.body), got.ending) == (EVENT, Ending.CUT)
    assert await over(stage) is EndReason.DRAINED


@pytest.mark.parametrize(
    "response", [STREAM, head((b"Content-Encoding", b"identity"))], ids=["plain", "identity"]
)
async def test_what_takes_words_gets_them(open_stage: Open, response: ResponseHead) -> None:
    stage, client = await open_stage(terms=SPEAKING)
    starts(stage, response, EVENT)
    assert not stage.pipe.takes_chunks()
    await client.head()
    await client.until(HEARTBEAT)
    stage.pipe.end(EndReason.DRAINED)
    got = await client.rest()
    assert (last_word(got.body)["progress"], got.ending) == (40, Ending.CLEAN)
    assert not stage.pipe.keep_alive


async def test_chunks_pass_as_they_stand_where_no_word_of_ours_may_come(open_stage: Open) -> None:
    stage, _ = await open_stage(terms=SOFT)
    stage.pipe.head(STREAM)
    assert stage.pipe.takes_chunks()


async def test_a_last_word_that_comes_with_the_head_comes_behind_it(open_stage: Open) -> None:
    stage, client = await open_stage(terms=SPEAKING)
    stage.pipe.head(STREAM)
    stage.pipe.body(EVENT)
    stage.pipe.broken(UPSTREAM_BAD_RESPONSE, "nonsense")
    got = await response_of(client)
    assert got.body.startswith(EVENT)
    assert last_word(got.body)["data"] == {"code": "upstream_closed"}
    assert got.ending is Ending.CLEAN


async def test_half_a_mark_that_is_kept_back_counts_as_the_services_sign_of_life(
    open_stage: Open,
) -> None:
    timeouts = Timeouts(None, None, stream_idle=0.8, send=None)
    stage, client = await open_stage(timeouts, terms=SPEAKING)
    starts(stage, STREAM)
    await client.head()
    await client.until(HEARTBEAT)
    for part in (b"\xef", b"\xbb", b"\xbf" + EVENT):
        stage.pipe.body(part)
        await asyncio.sleep(0.5)
    got = await client.rest()
    assert bytes(got.body).replace(HEARTBEAT, b"").startswith(EVENT)
    assert await over(stage) is EndReason.UPSTREAM_TIMEOUT


# How it ends


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (EndReason.TOTAL_TIMEOUT, "upstream_timeout"),
        (EndReason.UPSTREAM_TIMEOUT, "upstream_timeout"),
        (EndReason.UPSTREAM_CLOSED, "upstream_closed"),
        (EndReason.TOKEN_EXPIRED, "token_expired"),
        (EndReason.DRAINED, "draining"),
    ],
)
async def test_each_reason_has_its_code_and_the_stream_ends_whole(
    open_stage: Open, reason: EndReason, code: str
) -> None:
    stage, client = await open_stage(terms=SILENT)
    starts(stage, STREAM, EVENT)
    stage.pipe.end(reason)
    stage.pipe.end(EndReason.DRAINED)
    stage.pipe.body(EVENT)
    got = await response_of(client)
    word = last_word(got.body)
    assert (word["status"], word["progress"], word["step"]) == ("error", 40, "gateway")
    assert word["data"] == {"code": code}
    assert got.ending is Ending.CLEAN
    assert await over(stage) is reason
    assert stage.exchange.bytes_out == len(got.body)
    assert stage.pipe.keep_alive is (reason is not EndReason.DRAINED)


async def test_inside_an_event_the_cut_stays_a_cut(open_stage: Open) -> None:
    stage, client = await open_stage(terms=SPEAKING)
    starts(stage, STREAM, EVENT, b"data: 1\n")
    await asyncio.sleep(3 * BEAT)
    stage.pipe.end(EndReason.TOTAL_TIMEOUT)
    got = await response_of(client)
    assert (bytes(got.body), got.ending) == (EVENT + b"data: 1\n", Ending.CUT)


async def test_a_request_that_is_at_fault_itself_is_cut_without_a_word(open_stage: Open) -> None:
    stage, client = await open_stage(terms=SILENT)
    starts(stage, STREAM, EVENT)
    stage.pipe.refuse(Rejection(BODY_TOO_LARGE))
    got = await response_of(client)
    assert (bytes(got.body), got.ending) == (EVENT, Ending.CUT)


async def test_an_http_10_client_gets_the_words_without_chunks(open_stage: Open) -> None:
    stage, client = await open_stage(terms=SPEAKING, version="1.0")
    starts(stage, STREAM)
    await client.head()
    await client.until(HEARTBEAT)
    stage.pipe.body(EVENT)
    stage.pipe.end(EndReason.DRAINED)
    got = await client.rest()
    assert got.value("Transfer-Encoding") is None
    assert got.body.startswith(HEARTBEAT)
    assert last_word(got.body)["progress"] == 40
    assert got.ending is Ending.CLEAN


async def test_a_drain_says_when_to_come_back_where_transient_errors_do(open_stage: Open) -> None:
    options = StreamOptions(error_event="message", retries_transient=True)
    stage, client = await open_stage(terms=StreamTerms(options, None, wants_retry=True))
    starts(stage, STREAM, EVENT)
    stage.pipe.end(EndReason.DRAINED)
    retry = EventSource.read(bytes((await response_of(client)).body)).retry
    assert retry is not None
    assert retry >= 3000


# A browser that takes nothing


async def stalled(open_stage: Open) -> tuple[Stage, RawClient]:
    """A browser that reads nothing, with a large event on its way."""
    stage, client = await open_stage(terms=SPEAKING, receive_buffer=4096)
    starts(stage, STREAM, LARGE)
    return stage, client


async def test_no_heartbeat_queues_up_for_a_browser_that_takes_nothing(open_stage: Open) -> None:
    stage, client = await stalled(open_stage)
    await asyncio.sleep(4 * BEAT)
    stage.pipe.complete([])
    got = await response_of(client)
    assert bytes(got.body) == LARGE


async def test_the_silence_begins_when_a_browser_has_taken_what_waited(open_stage: Open) -> None:
    stage, client = await stalled(open_stage)
    await asyncio.sleep(BEAT)
    await client.head()
    await client.take(len(LARGE))
    began = time.monotonic()
    await client.until(HEARTBEAT)
    assert time.monotonic() - began >= BEAT / 2
    stage.pipe.complete([])
    await client.rest()


async def test_a_browser_that_takes_nothing_gets_no_last_word(open_stage: Open) -> None:
    stage, client = await stalled(open_stage)
    stage.pipe.end(EndReason.TOTAL_TIMEOUT)
    assert await over(stage) is EndReason.TOTAL_TIMEOUT
    got = await response_of(client)
    assert got.ending is not Ending.CLEAN
    assert b"gateway" not in got.body


# The token's end


async def test_a_stream_ends_when_its_token_does_and_says_so(open_stage: Open) -> None:
    expires_at = time.time() + 0.2
    options = StreamOptions(error_event="message", closes_on_expiry=True)
    stage, client = await open_stage(terms=StreamTerms(options, expires_at, wants_retry=False))
    starts(stage, STREAM, EVENT)
    got = await response_of(client)
    assert time.time() >= expires_at
    assert last_word(got.body)["data"] == {"code": "token_expired"}
    assert await over(stage) is EndReason.TOKEN_EXPIRED


async def test_a_stream_without_an_error_event_is_cut_when_its_token_ends(open_stage: Open) -> None:
    terms = StreamTerms(StreamOptions(closes_on_expiry=True), time.time() - 1, wants_retry=False)
    stage, client = await open_stage(terms=terms)
    starts(stage, STREAM, EVENT)
    got = await response_of(client)
    assert (bytes(got.body), got.ending) == (EVENT, Ending.CUT)
    assert await over(stage) is EndReason.TOKEN_EXPIRED


async def test_a_token_for_ages_and_what_is_no_event_stream_end_nothing(open_stage: Open) -> None:
    plain = ResponseHead(200, b"OK", [(b"Content-Type", b"text/plain")], True, False)
    for response, expires_at in ((STREAM, 253_402_300_799.0), (plain, time.time() - 1)):
        terms = StreamTerms(StreamOptions(closes_on_expiry=True), expires_at, wants_retry=False)
        stage, client = await open_stage(terms=terms)
        starts(stage, response, EVENT)
        await asyncio.sleep(0.05)
        stage.pipe.complete([])
        assert (await response_of(client)).ending is Ending.CLEAN


# Transient errors


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_services_own_transient_error_is_a_refusal_with_its_status(
    open_stage: Open, status: int
) -> None:
    stage, _ = await open_stage(terms=SOFT)
    starts(stage, head((b"Retry-After", b"7"), status=status), b"busy")
    assert await over(stage) is EndReason.ERROR
    refusal = stage.pipe.rejection
    assert refusal is not None
    assert (refusal.failure.status, refusal.failure.code) == (status, "upstream_error")
    assert refusal.headers == (("Retry-After", "7"),)


@pytest.mark.parametrize(("terms", "status"), [(SOFT, 500), (SPEAKING, 503)])
async def test_any_other_error_of_a_service_goes_on_as_it_is(
    open_stage: Open, terms: StreamTerms, status: int
) -> None:
    stage, client = await open_stage(UNBOUNDED, terms)
    starts(stage, head(status=status), b"busy")
    stage.pipe.complete([])
    got = await response_of(client)
    assert (got.status, bytes(got.body)) == (status, b"busy")
