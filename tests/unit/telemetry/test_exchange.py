"""Ids are taken over only where they are sound; an exchange leaves one line, without a token."""

import re

from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.telemetry.exchange import EndReason, Exchange, request_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def exchange() -> Exchange:
    return Exchange("GET", "/jobs/7", "id-1", TRACE, "10.0.0.9")


# Ids


@given(st.from_regex(r"[A-Za-z0-9._~:/+=@-]{1,128}", fullmatch=True))
def test_a_sound_request_id_is_kept(received: str) -> None:
    assert request_id(received.encode()) == received


@given(st.binary())
@example(b"x" * 129)
@example(b"two words")
@example(b"line\n")
@example(b"\x1b[31m")
def test_whatever_came_a_request_id_is_fit_for_a_log(received: bytes) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~:/+=@-]{1,128}", request_id(received))


def test_new_request_ids_differ() -> None:
    assert request_id(None) != request_id(None)


# The record


def test_the_end_that_is_said_first_stands() -> None:
    ended = exchange()
    ended.end(EndReason.CLIENT_CLOSED)
    ended.end(EndReason.COMPLETE)
    assert ended.end_reason is EndReason.CLIENT_CLOSED


def test_an_exchange_leaves_one_line_with_what_is_known() -> None:
    ended = exchange()
    ended.route, ended.status, ended.bytes_out = "/jobs/{id}", 200, 12
    ended.mark_first_byte()
    ended.end(EndReason.COMPLETE)
    with capture_logs() as lines:
        ended.report()
    [line] = lines
    assert 0 <= line.pop("first_byte_ms") <= line.pop("duration_ms")
    assert line == {
        "event": "request",
        "log_level": "info",
        "request_id": "id-1",
        "trace_id": TRACE,
        "route": "/jobs/{id}",
        "method": "GET",
        "path": "/jobs/7",
        "status": 200,
        "subject": "",
        "client": "10.0.0.9",
        "upstream": "",
        "bytes_in": 0,
        "bytes_out": 12,
        "end_reason": "complete",
    }


def test_without_a_response_there_is_no_first_byte() -> None:
    with capture_logs() as lines:
        exchange().report()
    assert lines[0]["first_byte_ms"] is None


def test_an_end_without_a_reason_is_an_error() -> None:
    with capture_logs() as lines:
        exchange().report()
    assert lines[0]["end_reason"] == "error"


def test_the_cause_of_a_failure_stands_in_the_line() -> None:
    failed = exchange()
    failed.code, failed.error = "upstream_unreachable", "refused"
    with capture_logs() as lines:
        failed.report()
    assert (lines[0]["code"], lines[0]["error"]) == ("upstream_unreachable", "refused")
