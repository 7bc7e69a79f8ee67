"""The record of one exchange, its one end reason, and its log line, which never has a token."""

import random
import re
import time
from enum import StrEnum

from gateway.http.errors import (
    INTERNAL_ERROR,
    UPSTREAM_BAD_RESPONSE,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNHEALTHY,
    UPSTREAM_UNREACHABLE,
    Rejection,
)
from gateway.telemetry.logging import log_request

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")


class EndReason(StrEnum):
    """Why an exchange ended; each exchange has one."""

    COMPLETE = "complete"
    CLIENT_CLOSED = "client_closed"
    CLIENT_STALLED = "client_stalled"
    UPSTREAM_CLOSED = "upstream_closed"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a reason, not a secret
    DRAINED = "drained"
    REFUSED = "refused"
    ERROR = "error"


# How a rejected exchange ends; with any other failure it is `refused`.
_ENDINGS = {
    INTERNAL_ERROR: EndReason.ERROR,
    UPSTREAM_BAD_RESPONSE: EndReason.ERROR,
    UPSTREAM_TIMEOUT: EndReason.UPSTREAM_TIMEOUT,
    UPSTREAM_UNHEALTHY: EndReason.ERROR,
    UPSTREAM_UNREACHABLE: EndReason.ERROR,
}


def request_id(received: bytes | None) -> str:
    """Returns the caller's X-Request-Id if it is fit for a log, else a new one."""
    if received is not None and _REQUEST_ID.fullmatch(received):
        return received.decode()
    return random.getrandbits(128).to_bytes(16).hex()  # unique, not secret


class Exchange:
    """What is known of one request and its response. Times are of `time.monotonic`, in seconds.

    `code` is the code of the rejection. `error` is the cause for the operator, with no part of the
    request.
    """

    # No dataclass, because the constructor of a compiled one is interpreted all the same.
    def __init__(self, method: str, path: str, request_id: str, trace_id: str, client: str) -> None:
        self.method = method
        self.path = path
        self.request_id = request_id
        self.trace_id = trace_id
        self.client = client
        self.route = ""
        self.subject = ""
        self.upstream = ""
        self.status = 0
        self.code = ""
        self.error = ""
        self.bytes_in = 0
        self.bytes_out = 0
        # Set once the response head is known. A WebSocket is a stream too.
        self.is_stream = False
        self.events: int | None = None  # how many events have passed; None if no events are counted
        self.span: object = None  # what the tracer keeps until the end
        self.end_reason: EndReason | None = None
        self.started = time.monotonic()
        self.first_byte_at: float | None = None

    def mark_first_byte(self) -> None:
        """Record that the response begins now."""
        self.first_byte_at = time.monotonic()

    def end(self, reason: EndReason, error: str = "") -> None:
        """Record the end reason, and the cause for the operator. The first call counts."""
        if self.end_reason is None:
            self.end_reason, self.error = reason, error

    def reject(self, rejection: Rejection) -> None:
        """Record that the exchange ends with an error response."""
        failure = rejection.failure
        self.status, self.code = int(failure.status), failure.code
        self.end(_ENDINGS.get(failure, EndReason.REFUSED), rejection.reason)

    @property
    def ending(self) -> EndReason:
        """The end reason. An exchange without one failed by an error."""
        return self.end_reason or EndReason.ERROR

    def report(self) -> None:
        """Write the log line of an exchange that has ended."""
        log_request(self.fields())

    def fields(self) -> dict[str, object]:
        """Returns the fields of the log line. It is written at the end, which is now."""
        now = time.monotonic()
        first = self.first_byte_at
        fields: dict[str, object] = {
            "request_id": self.request_id,
            "trace_id": self.trace_id,
            "route": self.route,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "subject": self.subject,
            "client": self.client,
            "upstream": self.upstream,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "first_byte_ms": None if first is None else _milliseconds(first - self.started),
            "duration_ms": _milliseconds(now - self.started),
            "end_reason": str(self.ending),
        }
        if self.code:
            fields["code"] = self.code
        if self.error:
            fields["error"] = self.error
        return fields


def _milliseconds(seconds: float) -> float:
    return int(seconds * 1_000_000) / 1000  # much cheaper than round()
