"""Error responses as bytes: the head and the problem document (RFC 9457)."""

from email.utils import formatdate

from gateway.http.errors import Rejection
from gateway.http.headers import SERVER_NAME


def own_headers(request_id: str) -> list[tuple[str, str]]:
    """Returns the headers that every response of the gateway itself has."""
    return [
        ("Cache-Control", "no-store"),
        ("Server", SERVER_NAME),
        ("Referrer-Policy", "no-referrer"),
        ("X-Request-Id", request_id),
    ]


def closing_response(rejection: Rejection, request_id: str) -> bytes:
    """Returns a whole error response; it is the last response on its connection."""
    failure, body = rejection.failure, rejection.problem(request_id)
    headers = [
        *(each for each in failure.headers if each[0] != "Connection"),
        ("Connection", "close"),
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Date", formatdate(usegmt=True)),
        *own_headers(request_id),
    ]
    lines = [f"HTTP/1.1 {failure.status:d} {failure.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
