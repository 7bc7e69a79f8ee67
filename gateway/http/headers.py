"""What is done to headers at the edge: pure functions over raw bytes.

Headers are lists of (name, value) pairs of bytes, in the order received and with the case received,
so that repeated headers keep their number and order and nothing is re-encoded on the way.
"""

from collections.abc import Iterable, Sequence

Headers = Sequence[tuple[bytes, bytes]]

SERVER_NAME = "gateway"  # in Server, without a version

EVENT_STREAM = b"text/event-stream"
# Media types whose responses are streams: they are sent as they come about, with silences between.
STREAMING = frozenset(
    {
        EVENT_STREAM,
        b"application/x-ndjson",
        b"application/jsonl",
        b"application/json-seq",
        b"application/stream+json",
        b"multipart/x-mixed-replace",
    }
)
_GRPC = b"application/grpc"  # and application/grpc+proto, application/grpc-web, ...
# What stops at each hop and is therefore written anew for the next (RFC 9110 7.8).
TO_WEBSOCKET = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))

# RFC 9110 7.6.1, with the older names that proxies strip all the same.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# The usual values of Connection, which name no header beyond these.
_NAMES_NO_OTHER = frozenset({b"keep-alive", b"close"})
# What a client may say of itself is worth nothing unless a trusted proxy says it.
FORWARDING = frozenset({b"forwarded", b"x-real-ip"})
FORWARDING_PREFIX = b"x-forwarded-"
# What the gateway says to a service, whatever the client said.
SETTLED_HERE = (
    FORWARDING
    | HOP_BY_HOP
    | {b"host", b"content-length", b"x-request-id", b"traceparent", b"tracestate"}
)
# RFC 9110 6.5.1: fields that a trailer may not carry.
NOT_IN_TRAILERS = HOP_BY_HOP | {
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"host",
    b"set-cookie",
}


def values(headers: Headers, name: bytes) -> list[bytes]:
    """All values of a header, in order; `name` in lower case."""
    size = len(name)  # compared first, as it tells most names apart
    return [value for key, value in headers if len(key) == size and key.lower() == name]


def first(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, or None; `name` in lower case."""
    size = len(name)
    for key, value in headers:
        if len(key) == size and key.lower() == name:
            return value
    return None


def by_name(headers: Headers) -> dict[bytes, list[bytes]]:
    """All values of each header, in order, under its name in lower case."""
    index: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        key = name.lower()
        if key in index:
            index[key].append(value)
        else:
            index[key] = [value]
    return index


def serialize(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines as they stand on the wire, each with its CRLF."""
    return b"".join([b"%b: %b\r\n" % (name, value) for name, value in headers])


def origin_form(target: str, headers: Headers) -> tuple[str, Headers]:
    """A request target as path and query alone, and the headers with the Host that holds.

    A target in absolute form names the host itself (RFC 9112 3.2.2).
    """
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() not in {"http", "https"}:
        return target, headers
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    host, path = rest[:end], rest[end:]
    others = [pair for pair in headers if pair[0].lower() != b"host"]
    path = path if path.startswith("/") else f"/{path}"
    return path, [(b"Host", host.encode("utf-8", "surrogateescape")), *others]


def media_type(value: bytes | None) -> bytes:
    """The type/subtype of a Content-Type value, without parameters, in lower case."""
    return value.partition(b";")[0].strip().lower() if value else b""


def is_streaming(kind: bytes) -> bool:
    """Whether responses of this media type, as `media_type` gives it, are streams."""
    return kind in STREAMING or kind.startswith(_GRPC)


def accepts_event_stream(headers: Headers) -> bool:
    """Whether Accept names `text/event-stream` itself, as every EventSource does (HTML 9.2.2)."""
    return any(
        media_type(item) == EVENT_STREAM
        for value in values(headers, b"accept")
        for item in value.split(b",")
    )


def connection_options(headers: Headers) -> set[bytes]:
    """What the Connection headers name, in lower case (RFC 9110 7.6.1).

    Content-Length is not theirs to name: it frames the message, whoever passes it on.
    """
    named: set[bytes] = set()
    for value in values(headers, b"connection"):
        named.update([option.strip().lower() for option in value.split(b",")])
    named.discard(b"content-length")
    return named


def upgrades_to_websocket(headers: Headers) -> bool:
    """Whether a head asks for WebSocket alone, or says that it is spoken now (RFC 6455 4.1)."""
    protocols = [value.strip().lower() for value in values(headers, b"upgrade")]
    return protocols == [b"websocket"] and b"upgrade" in connection_options(headers)


def _hop_by_hop(headers: Headers) -> frozenset[bytes]:
    """The names of what goes no further than this hop."""
    named = values(headers, b"connection")
    if all(value.lower() in _NAMES_NO_OTHER for value in named):
        return HOP_BY_HOP
    return HOP_BY_HOP | connection_options(headers)


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that go past this hop: none that are hop-by-hop, or named by Connection."""
    stop = _hop_by_hop(headers)
    return [pair for pair in headers if pair[0].lower() not in stop]


def trailers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The trailer fields that may go on."""
    return [pair for pair in headers if pair[0].lower() not in NOT_IN_TRAILERS]


def _is_settled_here(key: bytes) -> bool:
    """Whether the gateway writes this request header itself, whatever the client sent.

    A service behind CGI reads an underscore as a dash.
    """
    key = key.replace(b"_", b"-")
    return key in SETTLED_HERE or key.startswith(FORWARDING_PREFIX)


def for_upstream(received: Headers) -> list[tuple[bytes, bytes]]:
    """The client's own headers that the service may see, with any token still in them.

    An event stream is asked for uncompressed: a compressor holds bytes back.
    """
    stop = _hop_by_hop(received)
    kept = []
    for pair in received:
        key = pair[0].lower()
        if key not in stop and not _is_settled_here(key):
            kept.append(pair)
    if accepts_event_stream(received):
        kept = [pair for pair in kept if pair[0].lower() != b"accept-encoding"]
        kept.append((b"Accept-Encoding", b"identity"))
    return kept


def for_client(
    received: Headers, *, is_stream: bool, is_event_stream: bool
) -> list[tuple[bytes, bytes]]:
    """The service's own headers that the browser gets, with what keeps streams unbuffered."""
    kept = end_to_end(received)
    if is_stream:
        kept = [pair for pair in kept if pair[0].lower() != b"x-accel-buffering"]
        kept.append((b"X-Accel-Buffering", b"no"))
        if is_event_stream and first(kept, b"cache-control") is None:
            kept.append((b"Cache-Control", b"no-cache"))
    return kept
