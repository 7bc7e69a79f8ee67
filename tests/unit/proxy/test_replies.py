"""A rejection is written to the client and to the log, once each."""

import json

import pytest

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
from gateway.http.own_response import OwnResponse
from gateway.http.problem import is_closing, problem_response, retry_later
from gateway.proxy.replies import preflight_response
from gateway.telemetry.exchange import EndReason, Exchange


def exchange() -> Exchange:
    return Exchange("GET", "/", "id-1", "", "10.0.0.9")


def header(response: OwnResponse, name: str) -> str | None:
    lines = response.to_bytes(is_last=False).decode().split("\r\n\r\n")[0].split("\r\n")
    found = [line.partition(": ")[2] for line in lines if line.startswith(f"{name}: ")]
    assert len(found) < 2
    return found[0] if found else None


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
    refused.reject(Rejection(failure, reason="for the log"))
    assert (refused.status, refused.code, refused.error, refused.end_reason) == (
        failure.status,
        failure.code,
        "for the log",
        reason,
    )


def test_an_end_that_came_before_the_answer_stands() -> None:
    refused = exchange()
    refused.end(EndReason.TOTAL_TIMEOUT)
    refused.reject(Rejection(UPSTREAM_TIMEOUT))
    assert refused.end_reason is EndReason.TOTAL_TIMEOUT


def test_an_answer_carries_the_headers_of_its_kind_and_of_its_request() -> None:
    response = problem_response(Rejection(TOKEN_MISSING, headers=(("X-More", "1"),)), "id-1")
    assert header(response, "WWW-Authenticate") == "Bearer"
    assert header(response, "X-More") == "1"
    assert header(response, "X-Request-Id") == "id-1"
    assert header(response, "Cache-Control") == "no-store"
    assert header(response, "Content-Type") == "application/problem+json"
    assert header(response, "Referrer-Policy") == "no-referrer"
    assert header(response, "Server") == "gateway"


def test_an_answer_has_the_problem_as_its_body() -> None:
    refusal = Rejection(METHOD_NOT_ALLOWED, "It takes GET.", reason="for the log alone")
    response = problem_response(refusal, "id-1")
    assert response.status == 405
    problem = json.loads(response.body)
    assert (problem["code"], problem["detail"]) == ("method_not_allowed", "It takes GET.")
    assert problem["request_id"] == "id-1"
    assert b"for the log alone" not in response.body


def test_a_preflight_that_went_well_is_a_complete_exchange() -> None:
    asked = exchange()
    response = preflight_response([(b"Access-Control-Allow-Methods", b"GET")], asked)
    assert (response.status, header(response, "Access-Control-Allow-Methods")) == (204, "GET")
    assert header(response, "X-Request-Id") == "id-1"
    assert (asked.status, asked.end_reason) == (204, EndReason.COMPLETE)


def test_who_is_to_come_back_gets_a_200() -> None:
    response = retry_later(Rejection(UPSTREAM_UNREACHABLE, reason="for the log"), "id-1")
    assert (response.status, header(response, "Content-Type")) == (200, "text/event-stream")
    assert response.body.startswith(b": upstream_unreachable\nretry: ")
    assert header(response, "Cache-Control") == "no-store"
    assert b"for the log" not in response.body


def test_when_to_come_back_is_said_once() -> None:
    response = retry_later(Rejection(DRAINING), "id-1")
    assert header(response, "Retry-After") is None
    assert 1000 <= int(response.body.split()[-1]) <= 3000
    assert is_closing(Rejection(DRAINING))
