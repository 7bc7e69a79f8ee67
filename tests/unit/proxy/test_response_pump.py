"""An exchange has one end, whatever comes after it, and each silence is put down to its maker."""

from dataclasses import replace

import pytest

from gateway.config.model import Timeouts
from gateway.http.errors import BODY_TOO_LARGE, UPSTREAM_BAD_RESPONSE, Rejection
from gateway.http.response_parser import ResponseHead
from gateway.telemetry.exchange import EndReason
from gateway.upstream.connection import Connection
from tests.support.raw_client import Ending, RawClient
from tests.support.stage import STREAM, UNBOUNDED, Open, Stage, over, response_of

LENGTH = ResponseHead(200, b"OK", [(b"Content-Length", b"4")], has_body=True, has_length=True)

# One end


async def test_what_comes_after_the_end_goes_nowhere(open_stage: Open) -> None:
    stage, client = await open_stage()
    pipe = stage.pipe
    pipe.end(EndReason.TOTAL_TIMEOUT)
    pipe.informational(103, [])
    pipe.head(LENGTH)
    pipe.head_read()
    pipe.body(b"late")
    pipe.complete([])
    pipe.broken(UPSTREAM_BAD_RESPONSE, "late")
    pipe.refuse(Rejection(BODY_TOO_LARGE))
    pipe.end(EndReason.DRAINED)
    assert await over(stage) is EndReason.TOTAL_TIMEOUT
    response = await response_of(client)
    assert (response.status, response.interim, response.ending) == (503, [], Ending.CLEAN)


async def test_a_connection_that_comes_after_the_end_has_nothing_to_do(open_stage: Open) -> None:
    stage, _ = await open_stage()
    stage.pipe.end(EndReason.DRAINED)
    assert stage.pipe.attach(Connection(), is_repeatable=True).done()


async def test_an_answer_of_our_own_replaces_a_response_that_did_not_begin(
    open_stage: Open,
) -> None:
    stage, client = await open_stage()
    stage.pipe.refuse(Rejection(BODY_TOO_LARGE))
    assert await over(stage) is EndReason.REFUSED or stage.pipe.rejection is not None
    assert (await response_of(client)).status == 413
    assert stage.exchange.end_reason is EndReason.REFUSED


async def test_a_refusal_that_comes_too_late_is_a_cut(open_stage: Open) -> None:
    stage, client = await open_stage()
    stage.pipe.head(STREAM)
    stage.pipe.head_read()
    stage.pipe.body(b"data: 1\n\n")
    stage.pipe.refuse(Rejection(BODY_TOO_LARGE))
    response = await response_of(client)
    assert response.status == 200
    assert response.body == b"data: 1\n\n"
    assert response.ending is not Ending.CLEAN
    assert await over(stage) is EndReason.REFUSED


async def test_a_service_that_breaks_off_before_its_head_is_answered_for(open_stage: Open) -> None:
    stage, client = await open_stage()
    stage.pipe.broken(UPSTREAM_BAD_RESPONSE, "nonsense")
    assert await over(stage) is EndReason.UPSTREAM_CLOSED
    assert (await response_of(client)).status == 502
    assert stage.exchange.error == "nonsense"


async def test_an_unused_connection_that_was_closed_is_stale_and_no_end(open_stage: Open) -> None:
    stage, client = await open_stage()
    again = stage.pipe.attach(Connection(), is_repeatable=True)
    stage.pipe.broken(UPSTREAM_BAD_RESPONSE, "closed")
    assert again.done()
    assert stage.pipe.was_stale
    assert stage.pipe.rejection is None
    assert stage.exchange.end_reason is None
    stage.ended = stage.pipe.attach(Connection(), is_repeatable=False)
    assert not stage.pipe.was_stale
    stage.pipe.head(LENGTH)
    stage.pipe.head_read()
    stage.pipe.body(b"done")
    stage.pipe.complete([])
    assert (await response_of(client)).body == b"done"


# Nonsense from the browser


async def test_a_body_that_makes_no_sense_is_a_400_and_the_last_of_its_connection(
    open_stage: Open,
) -> None:
    stage, client = await open_stage()
    stage.pipe.client_malformed()
    assert not stage.pipe.keep_alive
    assert (await response_of(client)).status == 400
    assert stage.exchange.end_reason is EndReason.REFUSED


async def test_nonsense_behind_a_response_under_way_is_a_cut(open_stage: Open) -> None:
    stage, client = await open_stage()
    stage.pipe.head(STREAM)
    stage.pipe.head_read()
    stage.pipe.body(b"data: 1\n\n")
    stage.pipe.client_malformed()
    response = await response_of(client)
    assert (response.status, bytes(response.body)) == (200, b"data: 1\n\n")
    assert response.ending is not Ending.CLEAN
    assert await over(stage) is EndReason.REFUSED


# What is sent before the whole request came


@pytest.mark.parametrize("owes_body", [True, False])
async def test_an_answer_before_the_whole_request_is_the_last_of_its_connection(
    open_stage: Open, owes_body: bool
) -> None:
    stage, client = await open_stage()
    stage.pipe.owes_body = owes_body
    stage.pipe.head(LENGTH)
    stage.pipe.head_read()
    stage.pipe.body(b"done")
    stage.pipe.complete([])
    response = await response_of(client)
    assert response.value("Connection") == ("close" if owes_body else None)
    assert await over(stage) is EndReason.COMPLETE
    assert stage.pipe.keep_alive is not owes_body


# Interim responses


@pytest.mark.parametrize(
    ("status", "reason"), [(103, b"Early Hints"), (102, b"Processing"), (199, b"")]
)
async def test_an_interim_response_goes_on_less_its_hop_by_hop_headers(
    open_stage: Open, status: int, reason: bytes
) -> None:
    stage, client = await open_stage()
    stage.pipe.informational(status, [(b"Link", b"</a>"), (b"Connection", b"close")])
    stage.pipe.head(LENGTH)
    stage.pipe.head_read()
    stage.pipe.body(b"done")
    stage.pipe.complete([])
    [interim] = (await response_of(client)).interim
    assert (interim.status, interim.reason) == (status, reason)
    assert interim.headers == [(b"Link", b"</a>")]


@pytest.mark.parametrize(
    ("status", "version", "expects_continue", "passes"),
    [
        (100, "1.1", True, True),
        (100, "1.1", False, False),
        (103, "1.0", False, False),
        (100, "1.0", True, False),
    ],
)
async def test_an_interim_response_goes_only_to_who_can_read_it(
    open_stage: Open, status: int, version: str, expects_continue: bool, passes: bool
) -> None:
    stage, client = await open_stage(version=version, expects_continue=expects_continue)
    stage.pipe.informational(status, [])
    stage.pipe.head(LENGTH)
    stage.pipe.head_read()
    stage.pipe.body(b"done")
    stage.pipe.complete([])
    assert bool((await response_of(client)).interim) is passes


# A browser that takes nothing


async def stalled(open_stage: Open, timeouts: Timeouts = UNBOUNDED) -> tuple[Stage, RawClient]:
    """A browser that reads nothing, with more for it than every buffer holds."""
    stage, client = await open_stage(timeouts, receive_buffer=4096)
    stage.pipe.head(STREAM)
    stage.pipe.head_read()
    stage.pipe.body(b"a" * (16 << 20))
    return stage, client


async def test_a_browser_that_reads_late_gets_the_last_byte_too(open_stage: Open) -> None:
    stage, client = await stalled(open_stage)
    stage.pipe.complete([])
    assert not stage.ended.done()
    assert stage.pipe.unsent() > 0
    response = await response_of(client)
    assert (len(response.body), response.ending) == (16 << 20, Ending.CLEAN)
    assert await over(stage) is EndReason.COMPLETE


async def test_the_last_few_bytes_are_waited_for_too(open_stage: Open) -> None:
    stage, client = await open_stage(receive_buffer=4096)
    transport = stage.pipe._client.transport
    assert transport is not None
    stage.pipe.head(STREAM)
    stage.pipe.head_read()
    sent = 0
    while transport.get_write_buffer_size() == 0:
        stage.pipe.body(b"a" * 4096)
        sent += 4096
    stage.pipe.complete([])
    assert not stage.ended.done()
    response = await response_of(client)
    assert (len(response.body), response.ending) == (sent, Ending.CLEAN)
    assert await over(stage) is EndReason.COMPLETE


async def test_at_each_moment_it_is_known_what_it_waits_for(open_stage: Open) -> None:
    stage, client = await open_stage(replace(UNBOUNDED, first_byte=60.0), receive_buffer=4096)
    seen: list[str] = [stage.pipe.condition]
    silence = stage.pipe.silence()
    assert silence is not None
    assert 0 <= silence < 60
    stage.pipe.head(STREAM)
    stage.pipe.head_read()
    assert stage.pipe.silence() is None
    seen.append(stage.pipe.condition)
    stage.pipe.body(b"a" * (16 << 20))
    seen.append(stage.pipe.condition)
    stage.pipe.complete([])
    seen.append(stage.pipe.condition)
    assert seen == ["waiting", "streaming", "backpressure", "flushing"]
    await response_of(client)


@pytest.mark.parametrize("is_complete", [True, False])
async def test_a_drain_does_not_wait_for_a_browser_that_takes_nothing(
    open_stage: Open, is_complete: bool
) -> None:
    stage, client = await stalled(open_stage)
    if is_complete:
        stage.pipe.complete([])
    stage.pipe.end(EndReason.DRAINED)
    assert await over(stage) is EndReason.DRAINED
    response = await response_of(client)
    assert response.ending is not Ending.CLEAN


async def test_a_browser_that_takes_nothing_is_given_up_after_the_send_timeout(
    open_stage: Open,
) -> None:
    stage, _ = await stalled(open_stage, Timeouts(None, None, None, None, None, 0.1))
    assert await over(stage) is EndReason.CLIENT_STALLED
    assert stage.pipe.unsent() == 0
    stage.pipe.body(b"late")


# Time


async def test_the_shorter_bound_holds_while_connecting(open_stage: Open) -> None:
    stage, _ = await open_stage(UNBOUNDED)
    assert stage.pipe.seconds_left(None) is None
    assert stage.pipe.seconds_left(5.0) == 5.0
    stage, _ = await open_stage(Timeouts(total=60.0))
    left = stage.pipe.seconds_left(None)
    assert left is not None
    assert 0 < left <= 60
    assert stage.pipe.seconds_left(5.0) == 5.0
    assert stage.pipe.seconds_left(100.0) != 100.0


async def test_no_time_is_left_after_the_total_bound(open_stage: Open) -> None:
    stage, _ = await open_stage(Timeouts(total=0.02))
    assert await over(stage) is EndReason.TOTAL_TIMEOUT
    assert stage.pipe.seconds_left(5.0) == 0.0


async def test_a_body_that_stops_coming_is_not_the_services_silence(open_stage: Open) -> None:
    stage, client = await open_stage(Timeouts(None, None, first_byte=0.05, send=0.1))
    stage.pipe.await_client(is_awaited=True)
    assert (await response_of(client)).status == 400
    assert stage.exchange.code == "bad_request"


async def test_a_service_that_got_the_whole_body_and_is_silent_is_a_504(open_stage: Open) -> None:
    stage, client = await open_stage(Timeouts(None, None, first_byte=0.05, send=None))
    stage.pipe.await_client(is_awaited=True)
    stage.pipe.await_client(is_awaited=False)
    assert await over(stage) is EndReason.UPSTREAM_TIMEOUT
    assert stage.exchange.error == "first_byte_timeout"
    assert (await response_of(client)).status == 504


async def test_a_body_that_pauses_after_the_head_is_the_services_silence(open_stage: Open) -> None:
    stage, client = await open_stage(Timeouts(None, idle=0.05))
    stage.pipe.await_client(is_awaited=True)
    stage.pipe.head(LENGTH)
    stage.pipe.head_read()
    stage.pipe.body(b"do")
    assert (await response_of(client)).ending is not Ending.CLEAN
    assert await over(stage) is EndReason.UPSTREAM_TIMEOUT
    assert stage.exchange.error == "idle_timeout"
