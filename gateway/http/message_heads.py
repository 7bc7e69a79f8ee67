"""The heads that the gateway writes: of requests to upstreams, and of responses to clients.

Hop-by-hop headers are removed first. Then come the headers of the gateway, the rules of the route,
and the framing last. So no received header and no rule can change how a message is framed.
"""

from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum

from gateway.http.header_edits import Access, Edits
from gateway.http.headers import (
    TO_WEBSOCKET,
    Headers,
    end_to_end,
    first,
    for_client,
    serialize,
)
from gateway.http.response_parser import ResponseHead

NO_CONTENT = 204


class Framing(Enum):
    """How the client finds the end of a response body (RFC 9112 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


@dataclass(slots=True)
class Reply:
    """What a response to a request depends on: what the client accepts, and the route's rules.

    `access` is None on a route without CORS.
    """

    is_http_11: bool
    keep_alive: bool
    expects_continue: bool
    had_query_token: bool
    request_id: str
    edits: Edits
    access: Access | None = None


def framing_of(head: ResponseHead, reply: Reply) -> Framing:
    """Returns how to frame a response for this client. HTTP/1.0 has no chunks."""
    if not head.has_body:
        return Framing.NONE
    if head.has_length:
        return Framing.LENGTH
    return Framing.CHUNKED if reply.is_http_11 else Framing.UNTIL_CLOSE


def response_head(head: ResponseHead, framing: Framing, reply: Reply, *, is_closing: bool) -> bytes:
    """Returns the response head for the client, for a body with this framing."""
    headers = for_client(
        head.headers, is_stream=head.is_stream, is_event_stream=head.is_event_stream
    )
    if first(headers, b"date") is None:
        headers.append((b"Date", formatdate(usegmt=True).encode()))
    if first(headers, b"x-request-id") is None:
        headers.append((b"X-Request-Id", reply.request_id.encode()))
    if reply.had_query_token:
        headers = [pair for pair in headers if pair[0].lower() != b"referrer-policy"]
        headers.append((b"Referrer-Policy", b"no-referrer"))
    headers = reply.edits.apply(headers)
    if reply.access is not None:
        headers = reply.access.apply(headers)
    if head.status == NO_CONTENT:
        headers = [pair for pair in headers if pair[0].lower() != b"content-length"]
    headers += _connection(reply, framing, is_closing=is_closing)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, serialize(headers))


def _connection(reply: Reply, framing: Framing, *, is_closing: bool) -> Headers:
    headers = [(b"Transfer-Encoding", b"chunked")] if framing is Framing.CHUNKED else []
    if is_closing:
        headers.append((b"Connection", b"close"))
    elif not reply.is_http_11:
        headers.append((b"Connection", b"keep-alive"))
    return headers


def informational_head(status: int, reason: bytes, headers: Headers) -> bytes:
    """Returns a whole 1xx head (RFC 9110 15.2); it can have no length (8.6)."""
    kept = [pair for pair in headers if pair[0].lower() != b"content-length"]
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, serialize(kept))


def switching_head(reason: bytes, headers: Headers, reply: Reply) -> bytes:
    """Returns the 101 head for a WebSocket; it can have no length (RFC 9110 8.6)."""
    kept = [pair for pair in end_to_end(headers) if pair[0].lower() != b"content-length"]
    if first(kept, b"x-request-id") is None:
        kept.append((b"X-Request-Id", reply.request_id.encode()))
    kept = [*reply.edits.apply(kept), *TO_WEBSOCKET]
    return b"HTTP/1.1 101 %b\r\n%b\r\n" % (reason, serialize(kept))


class RequestHead:
    """A request head for an upstream, complete except for what depends on the upstream.

    `target` has no base path. A `host` that is not empty is the same for all upstreams.
    """

    def __init__(self, method: str, target: bytes, host: bytes, headers: Headers) -> None:
        self._method = method.encode()
        self._target = target
        self._host = host
        self._headers = serialize(headers)

    def to(self, base: bytes, host: bytes) -> bytes:
        """Returns the head for the upstream with this base path and this Host."""
        return b"%b %b%b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
            self._method,
            base,
            self._target,
            self._host or host,
            self._headers,
        )
