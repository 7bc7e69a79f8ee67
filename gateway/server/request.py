"""A request as received: its raw parts, its client, and the record of its exchange."""

from collections.abc import Sequence

from gateway.http.errors import BAD_REQUEST, BODY_TOO_LARGE, HEADERS_TOO_LARGE, Rejection
from gateway.http.forwarded import Networks, client_of
from gateway.http.header_edits import Access  # noqa: TC001 - compiled, it is needed at run time
from gateway.http.headers import Headers, by_name, origin_form, upgrades_to_websocket
from gateway.http.trace_context import TraceContext
from gateway.server.connection import ParsedRequest
from gateway.telemetry.exchange import Exchange, request_id


class Request:
    """A request, with the record of its exchange, which begins now.

    `path` and `query` are as received; `query` has its question mark, if any. `access` has the CORS
    headers of every response to it, as far as known. `is_websocket` is whether it opens a
    WebSocket.
    """

    def __init__(self, parsed: ParsedRequest, trusted_proxies: Networks) -> None:
        self._head = head = parsed.head
        received = head.target.decode("utf-8", "surrogateescape")
        target, headers = origin_form(received, head.headers)
        path, mark, query = target.partition("?")
        self.content = parsed.content
        self.connection = parsed.connection
        self.headers: Headers = headers
        self.method: str = head.method
        self.path = path
        self.query = mark + query
        self.is_http_11: bool = head.is_http_11
        self.has_body = head.has_body
        self.access: Access | None = None
        self.wants_retry = False  # transient errors become a 200 with `retry:`
        self._index = head.index if headers is head.headers else by_name(headers)
        self.is_chunked = head.is_chunked  # whether the length of the body is unknown
        self.keeps_alive = head.keeps_alive and self._may_keep_alive()
        self.is_websocket = self.first(b"upgrade") is not None and self._opens_websocket()
        self.client = client_of(headers, parsed.connection.address, trusted_proxies)
        self.trace = TraceContext(self.values(b"traceparent"), self.values(b"tracestate"))
        self.exchange = Exchange(
            method=self.method,
            path=path,
            request_id=request_id(self.first(b"x-request-id")),
            trace_id=self.trace.trace_id,
            client=self.client.address,
        )

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a 100 before it sends its body (RFC 9110 10.1.1)."""
        return (self.first(b"expect") or b"").lower() == b"100-continue"

    @property
    def framing(self) -> Sequence[tuple[bytes, bytes]]:
        """The header that frames the body for the upstream, as the client framed it."""
        length = self.first(b"content-length")
        if length is not None:
            return [(b"Content-Length", length)]
        return [(b"Transfer-Encoding", b"chunked")] if self.has_body else []

    def first(self, name: bytes) -> bytes | None:
        """Returns the first value of a header, or None; `name` is in lower case."""
        values = self._index.get(name)
        return values[0] if values else None

    def values(self, name: bytes) -> list[bytes]:
        """Returns all values of a header; `name` is in lower case."""
        return self._index.get(name, [])

    def forget_headers(self) -> None:
        """Release the headers, because a stream may go on for hours."""
        self.headers, self._index = (), {}
        self._head.forget()

    def _may_keep_alive(self) -> bool:
        """Whether another request may follow on the connection.

        After an Upgrade or a CONNECT the next bytes may not be HTTP. HTTP/1.0 has no transfer
        codings: a client that sends one may frame differently (RFC 9112 6.1).
        """
        return (
            self.method != "CONNECT"
            and self.first(b"upgrade") is None
            and (self.is_http_11 or not self.values(b"transfer-encoding"))
        )

    def _opens_websocket(self) -> bool:
        """Whether it is an opening handshake (RFC 6455 4.1), the last bytes that were read as HTTP.

        Without a key or a version, an upstream could only reject it. The gateway speaks no other
        protocols: requests for them are answered in HTTP/1.1.
        """
        return (
            self.method == "GET"
            and self.is_http_11
            and not self.has_body
            and self.first(b"sec-websocket-key") is not None
            and self.first(b"sec-websocket-version") is not None
            and upgrades_to_websocket(self.headers)
            and self.connection.may_switch
        )

    def check_head(self, limit: int) -> None:
        """Raises Rejection for a head over `limit` bytes, or one that can be read in two ways."""
        if sum(len(name) + len(value) for name, value in self.headers) > limit:
            raise Rejection(HEADERS_TOO_LARGE)
        if "#" in self.path or "#" in self.query:
            # RFC 9112 3.2 does not allow it, so that readers differ on where the query ends.
            raise Rejection(BAD_REQUEST, "The request target holds a '#'; percent-encode it.")

    def check_body(self, limit: int) -> None:
        """Raises Rejection for a body that is too large, or that no upstream could read."""
        if int(self.first(b"content-length") or 0) > limit:
            raise over(limit)
        codings = [value.lower() for value in self.values(b"transfer-encoding")]
        if codings and (codings != [b"chunked"] or not self.is_http_11):
            raise Rejection(
                BAD_REQUEST, "The only transfer coding that is accepted is HTTP/1.1 chunked."
            )


def over(limit: int) -> Rejection:
    """Returns the rejection of a body over the limit, in bytes."""
    return Rejection(BODY_TOO_LARGE, f"The request body is over this route's limit, {limit} bytes.")


def raw(text: str) -> bytes:
    """Returns the bytes of a text that was decoded from a request."""
    return text.encode("utf-8", "surrogateescape")
