"""The table of failures is what the contract says, and a refusal is a safe RFC 9457 problem."""

import json
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http import errors
from gateway.http.errors import TOO_MANY_STREAMS, UPSTREAM_UNHEALTHY, Failure, Rejection, Source

TABLE = [value for value in vars(errors).values() if isinstance(value, Failure)]


def test_every_code_has_the_status_that_the_contract_gives_it() -> None:
    assert {failure.code: int(failure.status) for failure in TABLE} == {
        "bad_request": 400,
        "token_missing": 401,
        "token_invalid": 401,
        "token_expired": 401,
        "scope_missing": 403,
        "origin_denied": 403,
        "route_not_found": 404,
        "method_not_allowed": 405,
        "request_timeout": 408,
        "body_too_large": 413,
        "headers_too_large": 431,
        "rate_limited": 429,
        "too_many_streams": 429,
        "internal_error": 500,
        "upstream_unreachable": 502,
        "upstream_bad_response": 502,
        "draining": 503,
        "keys_unavailable": 503,
        "token_store_unavailable": 503,
        "upstream_unhealthy": 503,
        "too_many_connections": 503,
        "upstream_timeout": 504,
    }


def test_no_two_failures_share_a_code() -> None:
    assert len({failure.code for failure in TABLE}) == len(TABLE)


@pytest.mark.parametrize("failure", TABLE, ids=lambda failure: failure.code)
def test_a_client_is_blamed_by_4xx_alone(failure: Failure) -> None:
    assert (failure.source is Source.CLIENT) == (400 <= failure.status < 500)


@pytest.mark.parametrize("failure", TABLE, ids=lambda failure: failure.code)
def test_a_status_that_promises_a_header_has_it(failure: Failure) -> None:
    names = {name for name, _ in failure.headers}
    assert ("WWW-Authenticate" in names) >= (failure.status == HTTPStatus.UNAUTHORIZED)
    is_served_later = failure.status == HTTPStatus.SERVICE_UNAVAILABLE
    # That of an unhealthy upstream is the refusal's own: it is known only then.
    says_when = (
        is_served_later and failure is not UPSTREAM_UNHEALTHY
    ) or failure is TOO_MANY_STREAMS
    assert ("Retry-After" in names) == says_when


def test_a_problem_has_the_members_of_the_contract() -> None:
    problem = json.loads(Rejection(errors.ROUTE_NOT_FOUND).problem("id-1"))
    assert problem == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "No route has this path.",
        "code": "route_not_found",
        "request_id": "id-1",
    }


@given(st.text(min_size=1))
def test_a_detail_of_the_request_replaces_the_tables_own(detail: str) -> None:
    refusal = Rejection(errors.BAD_REQUEST, detail)
    assert json.loads(refusal.problem(""))["detail"] == detail
    assert str(refusal) == f"bad_request: {detail}"


def test_the_reason_for_the_log_is_not_shown() -> None:
    refusal = Rejection(errors.UPSTREAM_UNREACHABLE, reason="connect to 10.0.0.7 failed")
    assert b"10.0.0.7" not in refusal.problem("")
    assert "10.0.0.7" not in str(refusal)
    assert str(refusal) == f"upstream_unreachable: {errors.UPSTREAM_UNREACHABLE.detail}"


def test_two_refusals_of_one_kind_stay_two() -> None:
    assert Rejection(errors.DRAINING) != Rejection(errors.DRAINING)
