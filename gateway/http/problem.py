"""Error responses: a problem document (RFC 9457), or an event stream that asks to reconnect."""

from gateway.http.errors import Rejection
from gateway.http.event_stream import reconnection_time
from gateway.http.own_response import OwnResponse, own_headers

_RETRY_AFTER = "Retry-After"


def problem_response(rejection: Rejection, request_id: str) -> OwnResponse:
    """Returns the problem document of a rejection."""
    return OwnResponse(
        int(rejection.failure.status),
        [
            *_headers(rejection),
            (b"Content-Type", b"application/problem+json"),
            *own_headers(request_id),
        ],
        rejection.problem(request_id),
    )


def retry_later(rejection: Rejection, request_id: str) -> OwnResponse:
    """Returns an event stream that makes an EventSource reconnect (HTML 9.2.3).

    An EventSource reconnects by itself only after a 200. The stream has two lines and no blank
    line, which some clients would read as an event: a comment with the error code, and `retry`.
    """
    after = next((value for name, value in _pairs(rejection) if name == _RETRY_AFTER), None)
    retry = reconnection_time(after)
    return OwnResponse(
        200,
        [
            *(pair for pair in _headers(rejection) if pair[0] != _RETRY_AFTER.encode()),
            (b"Content-Type", b"text/event-stream"),
            *own_headers(request_id),
        ],
        b": %b\nretry: %d\n" % (rejection.failure.code.encode(), retry),
    )


def _pairs(rejection: Rejection) -> list[tuple[str, str]]:
    return [*rejection.failure.headers, *rejection.headers]


def _headers(rejection: Rejection) -> list[tuple[bytes, bytes]]:
    """Returns the headers of a rejection. Its Connection follows from `OwnResponse.to_bytes`."""
    return [
        (name.encode(), value.encode()) for name, value in _pairs(rejection) if name != "Connection"
    ]


def is_closing(rejection: Rejection) -> bool:
    """Whether the connection of a rejection closes in any case."""
    return any(name == "Connection" for name, _ in _pairs(rejection))


def closing_response(rejection: Rejection, request_id: str) -> bytes:
    """Returns a whole error response; it is the last response on its connection."""
    return problem_response(rejection, request_id).to_bytes(is_last=True)
