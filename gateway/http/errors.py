"""Every way a request can fail before its response starts, in one table.

A `Rejection` is raised anywhere on the path of a request and answered in one place, as
`application/problem+json` (RFC 9457). Its text is safe to show to anyone: no upstream address,
no token, no stack trace.
"""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus


class Source(StrEnum):
    """Who has to mend it: whose pager rings."""

    CLIENT = "client"
    GATEWAY = "gateway"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of the table: what a code means on the wire."""

    code: str
    status: HTTPStatus
    source: Source
    detail: str
    headers: tuple[tuple[str, str], ...] = ()


_BEARER = (("WWW-Authenticate", "Bearer"),)
_BAD_BEARER = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
_BAD_SCOPE = (("WWW-Authenticate", 'Bearer error="insufficient_scope"'),)
_RETRY_SOON = (("Retry-After", "1"),)

_C, _G, _U = Source.CLIENT, Source.GATEWAY, Source.UPSTREAM
_S = HTTPStatus

BAD_REQUEST = Failure("bad_request", _S.BAD_REQUEST, _C, "The request is malformed.")
TOKEN_MISSING = Failure(
    "token_missing", _S.UNAUTHORIZED, _C, "This route needs a token, and none came.", _BEARER
)
TOKEN_INVALID = Failure(
    "token_invalid", _S.UNAUTHORIZED, _C, "The token is not valid.", _BAD_BEARER
)
TOKEN_EXPIRED = Failure("token_expired", _S.UNAUTHORIZED, _C, "The token expired.", _BAD_BEARER)
SCOPE_MISSING = Failure(
    "scope_missing", _S.FORBIDDEN, _C, "The token lacks a scope of this route.", _BAD_SCOPE
)
ORIGIN_DENIED = Failure(
    "origin_denied", _S.FORBIDDEN, _C, "A page of this origin may not use the cookie."
)
ROUTE_NOT_FOUND = Failure("route_not_found", _S.NOT_FOUND, _C, "No route has this path.")
METHOD_NOT_ALLOWED = Failure(
    "method_not_allowed", _S.METHOD_NOT_ALLOWED, _C, "The route does not take this method."
)
REQUEST_TIMEOUT = Failure(
    "request_timeout", _S.REQUEST_TIMEOUT, _C, "The request head did not come in time."
)
BODY_TOO_LARGE = Failure(
    "body_too_large", _S.REQUEST_ENTITY_TOO_LARGE, _C, "The request body is over the limit."
)
HEADERS_TOO_LARGE = Failure(
    "headers_too_large",
    _S.REQUEST_HEADER_FIELDS_TOO_LARGE,
    _C,
    "The request line or a header is over the limit.",
)
# Its Retry-After is the refusal's own: when the next one may come.
RATE_LIMITED = Failure(
    "rate_limited",
    _S.TOO_MANY_REQUESTS,
    _C,
    "Too many requests came in a short time; try again later.",
)
TOO_MANY_STREAMS = Failure(
    "too_many_streams",
    _S.TOO_MANY_REQUESTS,
    _C,
    "This route serves as many at a time as it may; try again later.",
    (("Retry-After", "5"),),
)
UPSTREAM_UNREACHABLE = Failure(
    "upstream_unreachable", _S.BAD_GATEWAY, _U, "No connection to the service could be made."
)
UPSTREAM_BAD_RESPONSE = Failure(
    "upstream_bad_response", _S.BAD_GATEWAY, _U, "The service did not answer in valid HTTP."
)
DRAINING = Failure(
    "draining",
    _S.SERVICE_UNAVAILABLE,
    _G,
    "The gateway is shutting down; try again.",
    (*_RETRY_SOON, ("Connection", "close")),
)
TOO_MANY_CONNECTIONS = Failure(
    "too_many_connections",
    _S.SERVICE_UNAVAILABLE,
    _G,
    "The gateway has as many connections as it may; try again.",
    (*_RETRY_SOON, ("Connection", "close")),
)
# Its Retry-After is the refusal's own: when the services are asked again.
UPSTREAM_UNHEALTHY = Failure(
    "upstream_unhealthy", _S.SERVICE_UNAVAILABLE, _U, "No service is well enough to answer."
)
KEYS_UNAVAILABLE = Failure(
    "keys_unavailable",
    _S.SERVICE_UNAVAILABLE,
    _G,
    "The keys that verify tokens cannot be had for now; try again.",
    _RETRY_SOON,
)
TOKEN_STORE_UNAVAILABLE = Failure(
    "token_store_unavailable",
    _S.SERVICE_UNAVAILABLE,
    _G,
    "Whether this token was used cannot be known for now; try again.",
    _RETRY_SOON,
)
UPSTREAM_TIMEOUT = Failure(
    "upstream_timeout", _S.GATEWAY_TIMEOUT, _U, "The service did not answer in time."
)
INTERNAL_ERROR = Failure(
    "internal_error", _S.INTERNAL_SERVER_ERROR, _G, "The gateway failed; its log says why."
)


def upstream_error(status: int) -> Failure:
    """A service's own 5xx, where it is not passed on."""
    return Failure("upstream_error", HTTPStatus(status), _U, f"The service answered {status}.")


# With these it is worth trying again, and soon: whoever failed may be back by then.
TRANSIENT = frozenset({_S.BAD_GATEWAY, _S.SERVICE_UNAVAILABLE, _S.GATEWAY_TIMEOUT})


@dataclass(slots=True, eq=False)
class Rejection(Exception):
    """A request that ends here: a row of the table, and what is particular to this request.

    `detail` is shown to the client in place of the row's own. `reason` is for the log alone.
    """

    failure: Failure
    detail: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = field(default="", kw_only=True)

    def __str__(self) -> str:
        return f"{self.failure.code}: {self.detail or self.failure.detail}"

    def problem(self, request_id: str) -> bytes:
        """The body of the answer: an RFC 9457 problem object, as JSON."""
        status = self.failure.status
        return json.dumps(
            {
                "type": "about:blank",
                "title": status.phrase,
                "status": int(status),
                "detail": self.detail or self.failure.detail,
                "code": self.failure.code,
                "request_id": request_id,
            }
        ).encode()
