"""A response that the gateway makes itself, as bytes."""

import time
from email.utils import formatdate
from http import HTTPStatus

from gateway.http.headers import SERVER_NAME, Headers, serialize

OWN_HEADERS: Headers = (
    (b"Cache-Control", b"no-store"),
    (b"Server", SERVER_NAME.encode()),
    (b"Referrer-Policy", b"no-referrer"),
)
# Statuses without a body, and so without a length (RFC 9110 8.6).
_BODILESS = frozenset({204, 304})


_STATUS_LINES = {
    int(status): b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}


class _Clock:
    """The Date header of the present second (RFC 9110 6.6.1)."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


_clock = _Clock()


def own_headers(request_id: str) -> list[tuple[bytes, bytes]]:
    """Returns the headers that every recorded response of the gateway itself has."""
    return [*OWN_HEADERS, (b"X-Request-Id", request_id.encode())]


class OwnResponse:
    """A response of the gateway itself, complete but for what its connection needs.

    `prepared` are header lines, `headers` are further ones. Neither has Date, Connection or a
    length.
    """

    def __init__(
        self, status: int, headers: Headers, body: bytes = b"", *, prepared: bytes = b""
    ) -> None:
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = list(headers)
        self.body = body
        self.prepared = prepared

    def to_bytes(self, *, is_head: bool = False, is_http_11: bool = True, is_last: bool) -> bytes:
        """Returns the whole response; `is_last` is whether its connection closes after it.

        The response to a HEAD request has the length of the body, but no body.
        """
        length = b""
        if self.status not in _BODILESS:
            length = b"Content-Length: %d\r\n" % len(self.body)
        connection = b""
        if is_last:
            connection = b"Connection: close\r\n"
        elif not is_http_11:
            connection = b"Connection: keep-alive\r\n"
        return b"%b%b%b%b%b%b\r\n%b" % (
            _STATUS_LINES[self.status],
            self.prepared,
            serialize(self.headers),
            _clock.line(),
            length,
            connection,
            b"" if is_head else self.body,
        )
