"""The table of errors that a request can be rejected with before its response starts.

A `Rejection` is raised anywhere on the path of a request, and answered in one place as
`application/problem+json` (RFC 9457). Its text is safe to show to anyone: it has no upstream
address, no token and no stack trace.
"""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from http import HTTPStatus


class Source(StrEnum):
    """Whose error it is: the client's, the gateway's or the upstream's."""

    CLIENT = "client"
    GATEWAY = "gateway"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of the table: an error code, its status and its text."""

    code: str
    status: HTTPStatus
    source: Source
    detail: str
    headers: tuple[tuple[str, str], ...] = ()


def _row(code: str, status: int, source: Source, detail: str, **headers: str) -> Failure:
    """Returns a row; `headers` are named with underscores."""
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Failure(code, HTTPStatus(status), source, detail, pairs)


CLIENT, GATEWAY, UPSTREAM = Source.CLIENT, Source.GATEWAY, Source.UPSTREAM
_BEARER = "Bearer"
_BAD_BEARER = 'Bearer error="invalid_token"'
_BAD_SCOPE = 'Bearer error="insufficient_scope"'

BAD_REQUEST = _row("bad_request", 400, CLIENT, "The request is malformed.")
TOKEN_MISSING = _row(
    "token_missing", 401, CLIENT, "This route needs a token: send one.", WWW_Authenticate=_BEARER
)
TOKEN_INVALID = _row(
    "token_invalid", 401, CLIENT, "The token is not valid.", WWW_Authenticate=_BAD_BEARER
)
TOKEN_EXPIRED = _row(
    "token_expired", 401, CLIENT, "The token has expired.", WWW_Authenticate=_BAD_BEARER
)
SCOPE_MISSING = _row(
    "scope_missing",
    403,
    CLIENT,
    "The token does not have all scopes of this route.",
    WWW_Authenticate=_BAD_SCOPE,
)
ORIGIN_DENIED = _row("origin_denied", 403, CLIENT, "Pages of this origin may not use the cookie.")
ROUTE_NOT_FOUND = _row("route_not_found", 404, CLIENT, "No route has this path.")
METHOD_NOT_ALLOWED = _row(
    "method_not_allowed", 405, CLIENT, "The route does not accept this method."
)
REQUEST_TIMEOUT = _row("request_timeout", 408, CLIENT, "The request head did not come in time.")
BODY_TOO_LARGE = _row("body_too_large", 413, CLIENT, "The request body is over the limit.")
HEADERS_TOO_LARGE = _row(
    "headers_too_large", 431, CLIENT, "The request line or a header is over the limit."
)
# The rejection has the Retry-After: when the rate allows the next request.
RATE_LIMITED = _row(
    "rate_limited", 429, CLIENT, "Too many requests in a short time. Try again later."
)
TOO_MANY_STREAMS = _row(
    "too_many_streams",
    429,
    CLIENT,
    "This route has reached its limit of open streams. Try again later.",
    Retry_After="5",
)
UPSTREAM_UNREACHABLE = _row(
    "upstream_unreachable", 502, UPSTREAM, "No connection to the upstream could be made."
)
UPSTREAM_BAD_RESPONSE = _row(
    "upstream_bad_response", 502, UPSTREAM, "The upstream sent an invalid HTTP response."
)
DRAINING = _row(
    "draining",
    503,
    GATEWAY,
    "The gateway is shutting down. Try again.",
    Retry_After="1",
    Connection="close",
)
TOO_MANY_CONNECTIONS = _row(
    "too_many_connections",
    503,
    GATEWAY,
    "The gateway has reached its limit of connections. Try again.",
    Retry_After="1",
    Connection="close",
)
# The rejection has the Retry-After: when the upstreams are checked again.
UPSTREAM_UNHEALTHY = _row(
    "upstream_unhealthy", 503, UPSTREAM, "All upstreams of this route are unhealthy."
)
KEYS_UNAVAILABLE = _row(
    "keys_unavailable",
    503,
    GATEWAY,
    "The token signing keys are not available yet. Try again in a second.",
    Retry_After="1",
)
TOKEN_STORE_UNAVAILABLE = _row(
    "token_store_unavailable",
    503,
    GATEWAY,
    "The store of used tokens is not available. Try again in a second.",
    Retry_After="1",
)
UPSTREAM_TIMEOUT = _row("upstream_timeout", 504, UPSTREAM, "The upstream did not answer in time.")
INTERNAL_ERROR = _row("internal_error", 500, GATEWAY, "The gateway failed. Its log has the reason.")


def upstream_error(status: int) -> Failure:
    """Returns the failure for an upstream's own 5xx that is not forwarded."""
    return _row("upstream_error", status, UPSTREAM, f"The upstream answered {status}.")


# A client may try again soon after one of these.
TRANSIENT = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)


@dataclass(slots=True, eq=False)
class Rejection(Exception):
    """A request that is rejected: a row of the table, with the particulars of this request.

    `detail` replaces the text of the row for the client. `reason` is for the log alone.
    """

    failure: Failure
    detail: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = field(default="", kw_only=True)

    def __str__(self) -> str:
        return f"{self.failure.code}: {self.detail or self.failure.detail}"

    def problem(self, request_id: str) -> bytes:
        """Returns the body of the error response: an RFC 9457 problem document, as JSON.

        `request_id` needs no escaping in JSON, see `telemetry.exchange.request_id`.
        """
        return b'%b, "request_id": "%b"}' % (
            _problem_start(self.failure, self.detail),
            request_id.encode(),
        )


@lru_cache(maxsize=256)
def _problem_start(failure: Failure, detail: str) -> bytes:
    """Returns a problem document up to its request id, as few of them differ in more."""
    status = failure.status
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail or failure.detail,
        "code": failure.code,
    }
    return json.dumps(document).encode().removesuffix(b"}")


class Malformed(Rejection):
    """The rejection of a request that cannot be read, so that none can be read after it."""
