"""Error responses: a problem document (RFC 9457), or an event stream that asks to reconnect."""

from functools import lru_cache
from typing import TypeAlias

from gateway.http.errors import Rejection
from gateway.http.event_stream import reconnection_time
from gateway.http.headers import serialize
from gateway.http.own_response import OWN_HEADERS, OwnResponse

_RETRY_AFTER = "Retry-After"

Pairs: TypeAlias = "tuple[tuple[str, str], ...]"


def problem_response(rejection: Rejection, request_id: str) -> OwnResponse:
    """Returns the problem document of a rejection."""
    return OwnResponse(
        int(rejection.failure.status),
        [(b"X-Request-Id", request_id.encode())],
        rejection.problem(request_id),
        prepared=_prepared(_pairs(rejection), "application/problem+json"),
    )


def retry_later(rejection: Rejection, request_id: str) -> OwnResponse:
    """Returns an event stream that makes an EventSource reconnect (HTML 9.2.3).

    An EventSource reconnects by itself only after a 200. The stream has two lines and no blank
    line, which some clients would read as an event: a comment with the error code, and `retry`.
    """
    pairs = _pairs(rejection)
    after = next((value for name, value in pairs if name == _RETRY_AFTER), None)
    others = tuple([pair for pair in pairs if pair[0] != _RETRY_AFTER])
    return OwnResponse(
        200,
        [(b"X-Request-Id", request_id.encode())],
        b": %b\nretry: %d\n" % (rejection.failure.code.encode(), reconnection_time(after)),
        prepared=_prepared(others, "text/event-stream"),
    )


def _pairs(rejection: Rejection) -> Pairs:
    return rejection.failure.headers + rejection.headers


@lru_cache(maxsize=256)
def _prepared(pairs: Pairs, media_type: str) -> bytes:
    """Returns the header lines of an error response, as few of them differ in more than an id.

    Its Connection follows from `OwnResponse.to_bytes`.
    """
    headers = [(name.encode(), value.encode()) for name, value in pairs if name != "Connection"]
    return serialize([*headers, (b"Content-Type", media_type.encode()), *OWN_HEADERS])


def is_closing(rejection: Rejection) -> bool:
    """Whether the connection of a rejection closes in any case."""
    return any(name == "Connection" for name, _ in _pairs(rejection))


def closing_response(rejection: Rejection, request_id: str) -> bytes:
    """Returns a whole error response; it is the last response on its connection."""
    return problem_response(rejection, request_id).to_bytes(is_last=True)
