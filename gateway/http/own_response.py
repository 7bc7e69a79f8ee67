"""A response that the gateway makes itself, as bytes."""

import time
from email.utils import formatdate
from http import HTTPStatus

from gateway.http.headers import SERVER_NAME, Headers, serialize

_SERVER = SERVER_NAME.encode()
# Statuses without a body, and so without a length (RFC 9110 8.6).
_BODILESS = frozenset({204, 304})


class _Clock:
    """The Date header of the present second (RFC 9110 6.6.1)."""

    def __init__(self) -> None:
        self._second = 0
        self._date = b""

    def date(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
        return self._date


_clock = _Clock()


def own_headers(request_id: str) -> list[tuple[bytes, bytes]]:
    """Returns the headers that every recorded response of the gateway itself has."""
    return [
        (b"Cache-Control", b"no-store"),
        (b"Server", _SERVER),
        (b"Referrer-Policy", b"no-referrer"),
        (b"X-Request-Id", request_id.encode()),
    ]


class OwnResponse:
    """A response of the gateway itself, complete but for what its connection needs.

    `headers` have neither Date, Connection nor a length.
    """

    def __init__(self, status: int, headers: Headers, body: bytes = b"") -> None:
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = list(headers)
        self.body = body

    def to_bytes(self, *, is_head: bool = False, is_http_11: bool = True, is_last: bool) -> bytes:
        """Returns the whole response; `is_last` is whether its connection closes after it.

        The response to a HEAD request has the length of the body, but no body.
        """
        headers = [*self.headers, (b"Date", _clock.date())]
        if self.status not in _BODILESS:
            headers.append((b"Content-Length", b"%d" % len(self.body)))
        if is_last:
            headers.append((b"Connection", b"close"))
        elif not is_http_11:
            headers.append((b"Connection", b"keep-alive"))
        reason = HTTPStatus(self.status).phrase.encode()
        head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (self.status, reason, serialize(headers))
        return head if is_head else head + self.body
