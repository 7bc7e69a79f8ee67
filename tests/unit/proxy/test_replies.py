"""A rejection is written to the client and to the log, once each."""

import json

import pytest

from gateway.auth.cors import CorsPolicy
from gateway.config.model import Cors
from gateway.http.errors import (
    DRAINING,
    INTERNAL_ERROR,
    METHOD_NOT_ALLOWED,
    TOKEN_MISSING,
    UPSTREAM_BAD_RESPONSE,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Failure,
    Rejection,
)
from gateway.proxy.replies import (
    allow_access,
    preflight_response,
    problem_response,
    retry_later,
)
from gateway.telemetry.exchange import EndReason, Exchange


def exchange() -> Exchange:
    return Exchange("GET", "/", "id-1", "", "10.0.0.9")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (TOKEN_MISSING, EndReason.REFUSED),
        (UPSTREAM_UNREACHABLE, EndReason.ERROR),
        (UPSTREAM_BAD_RESPONSE, EndReason.ERROR),
        (UPSTREAM_TIMEOUT, EndReason.UPSTREAM_TIMEOUT),
        (INTERNAL_ERROR, EndReason.ERROR),
    ],
)
def test_a_refusal_leaves_its_trace_in_the_record(failure: Failure, reason: EndReason) -> None:
    refused = exchange()
    problem_response(Rejection(failure, reason="for the log"), refused)
    assert (refused.status, refused.code, refused.error, refused.end_reason) == (
        failure.status,
        failure.code,
        "for the log",
        reason,
    )


def test_an_end_that_came_before_the_answer_stands() -> None:
    refused = exchange()
    refused.end(EndReason.TOTAL_TIMEOUT)
    problem_response(Rejection(UPSTREAM_TIMEOUT), refused)
    assert refused.end_reason is EndReason.TOTAL_TIMEOUT


def test_an_answer_carries_the_headers_of_its_kind_and_of_its_request() -> None:
    response = problem_response(Rejection(TOKEN_MISSING, headers=(("X-More", "1"),)), exchange())
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["X-More"] == "1"
    assert response.headers["X-Request-Id"] == "id-1"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.content_type == "application/problem+json"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Server"] == "gateway"


def test_an_answer_has_the_problem_as_its_body() -> None:
    refusal = Rejection(METHOD_NOT_ALLOWED, "It takes GET.", reason="for the log alone")
    response = problem_response(refusal, exchange())
    assert response.status == 405
    assert isinstance(response.body, bytes)
    problem = json.loads(response.body)
    assert (problem["code"], problem["detail"]) == ("method_not_allowed", "It takes GET.")
    assert problem["request_id"] == "id-1"
    assert b"for the log alone" not in response.body


def test_an_answer_can_be_read_by_the_page_that_may() -> None:
    response = problem_response(Rejection(TOKEN_MISSING), exchange())
    allow_access(response, CorsPolicy(Cors(("https://a.dev",))).access(b"https://a.dev"))
    assert response.headers["Access-Control-Allow-Origin"] == "https://a.dev"
    assert response.headers["Vary"] == "Origin"


def test_without_cors_an_answer_says_nothing_of_it() -> None:
    response = problem_response(Rejection(TOKEN_MISSING), exchange())
    before = list(response.headers.items())
    allow_access(response, None)
    assert list(response.headers.items()) == before


def test_a_preflight_that_went_well_is_a_complete_exchange() -> None:
    asked = exchange()
    response = preflight_response([(b"Access-Control-Allow-Methods", b"GET")], asked)
    assert (response.status, response.headers["Access-Control-Allow-Methods"]) == (204, "GET")
    assert response.headers["X-Request-Id"] == "id-1"
    assert (asked.status, asked.end_reason) == (204, EndReason.COMPLETE)


def test_who_is_to_come_back_gets_a_200_and_the_record_the_truth() -> None:
    refused = exchange()
    response = retry_later(Rejection(UPSTREAM_UNREACHABLE, reason="for the log"), refused)
    assert (response.status, response.content_type) == (200, "text/event-stream")
    assert isinstance(response.body, bytes)
    assert response.body.startswith(b": upstream_unreachable\nretry: ")
    assert response.headers["Cache-Control"] == "no-store"
    assert (refused.status, refused.code) == (502, "upstream_unreachable")
    assert (refused.end_reason, refused.error) == (EndReason.ERROR, "for the log")


def test_when_to_come_back_is_said_once() -> None:
    response = retry_later(Rejection(DRAINING), exchange())
    assert "Retry-After" not in response.headers
    assert isinstance(response.body, bytes)
    assert 1000 <= int(response.body.split()[-1]) <= 3000
    assert response.headers["Connection"] == "close"
