"""Header lists: reading them, and what is removed and added at the edge. Pure functions.

A header list has (name, value) pairs of bytes, in the order and the case received. So repeated
headers keep their number and order, and nothing is encoded again.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

Headers = Sequence[tuple[bytes, bytes]]

SERVER_NAME = "gateway"  # in Server, without a version

EVENT_STREAM = b"text/event-stream"
# Media types whose responses are streams: their parts come with silences between them.
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
# Hop-by-hop headers that the gateway writes anew for the next hop (RFC 9110 7.8).
TO_WEBSOCKET = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))

# RFC 9110 7.6.1, with older names that proxies remove as well.
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
# The usual values of Connection, which name no further header.
_NAMES_NO_OTHER = frozenset({b"keep-alive", b"close"})
# Ignored from a client, unless a trusted proxy sends it.
FORWARDING = frozenset({b"forwarded", b"x-real-ip"})
FORWARDING_PREFIX = b"x-forwarded-"
# What the gateway itself sends to an upstream, whatever the client sent.
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


EMPTY_LINE: Final = b"\r\n\r\n"  # the end of a head, with that of the line before
# What happens to a header, by its name. Plain numbers, because each header needs one.
KEEP: Final = 0
DROP: Final = 1
_CONNECTION: Final = 2
_ACCEPT: Final = 3
_MOST_NAMES: Final = 1024


class RuleCache:
    """What happens to headers by their names, decided once for each name as it was received.

    Clients invent names, so that those seen are forgotten when there are too many.
    """

    def __init__(self, decide: Callable[[bytes], int]) -> None:
        self._decide = decide
        self._known: dict[bytes, int] = {}

    def of(self, name: bytes) -> int:
        """Returns the decision for a name."""
        known = self._known.get(name)
        if known is not None:
            return known
        if len(self._known) >= _MOST_NAMES:
            self._known.clear()
        decided = self._known[name] = self._decide(name)
        return decided


def after_empty_line(tail: bytes, data: bytes, start: int) -> int:
    """Returns where a head may end: after the next empty line, or at the end of the data.

    `tail` has the last three bytes before `start`, because an empty line may come in parts.
    """
    size = len(EMPTY_LINE)
    astride = (tail + data[start : start + size - 1]).find(EMPTY_LINE)
    if astride >= 0:
        return start + astride + size - len(tail)
    found = data.find(EMPTY_LINE, start)
    return found + size if found >= 0 else len(data)


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Returns all values of a header, in order; `name` is in lower case."""
    size = len(name)  # compared first, because it rules out most names
    return [value for key, value in headers if len(key) == size and key.lower() == name]


def first(headers: Headers, name: bytes) -> bytes | None:
    """Returns the first value of a header, or None; `name` is in lower case."""
    size = len(name)
    for key, value in headers:
        if len(key) == size and key.lower() == name:
            return value
    return None


def by_name(headers: Headers) -> dict[bytes, list[bytes]]:
    """Returns all values of each header, in order, by its name in lower case."""
    index: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        key = name.lower()
        if key in index:
            index[key].append(value)
        else:
            index[key] = [value]
    return index


def serialize(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Returns header lines as on the wire, each with its CRLF."""
    return b"".join([b"%b: %b\r\n" % (name, value) for name, value in headers])


def origin_form(target: str, headers: Headers) -> tuple[str, Headers]:
    """Returns a request target as path and query, and the headers with the Host that applies.

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
    """Returns the type/subtype of a Content-Type value, without parameters, in lower case."""
    return value.partition(b";")[0].strip().lower() if value else b""


def is_streaming(kind: bytes) -> bool:
    """Whether responses of this media type, as `media_type` gives it, are streams."""
    return kind in STREAMING or kind.startswith(_GRPC)


def accepts_event_stream(headers: Headers) -> bool:
    """Whether Accept names `text/event-stream` itself, as every EventSource does (HTML 9.2.2)."""
    return any(_names_event_stream(value) for value in values(headers, b"accept"))


def _names_event_stream(accept: bytes) -> bool:
    return EVENT_STREAM in accept.lower() and any(
        media_type(item) == EVENT_STREAM for item in accept.split(b",")
    )


def connection_options(headers: Headers) -> set[bytes]:
    """Returns the names in the Connection headers, in lower case (RFC 9110 7.6.1).

    Content-Length is left out, because it frames the message on every hop.
    """
    named: set[bytes] = set()
    for value in values(headers, b"connection"):
        named.update([option.strip().lower() for option in value.split(b",")])
    named.discard(b"content-length")
    return named


def upgrades_to_websocket(headers: Headers) -> bool:
    """Whether a head asks for WebSocket alone, or switches to it (RFC 6455 4.1)."""
    protocols = [value.strip().lower() for value in values(headers, b"upgrade")]
    return protocols == [b"websocket"] and b"upgrade" in connection_options(headers)


def _hop_rule(name: bytes) -> int:
    """Returns whether a header of this name is for this hop only."""
    key = name.lower()
    if key == b"connection":
        return _CONNECTION
    return DROP if key in HOP_BY_HOP else KEEP


_hop_rules = RuleCache(_hop_rule)


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Returns the headers that are forwarded: neither hop-by-hop nor named by Connection."""
    kept = []
    names_others = False
    for pair in headers:
        rule = _hop_rules.of(pair[0])
        if rule == KEEP:
            kept.append(pair)
        elif rule == _CONNECTION:
            names_others = names_others or pair[1].lower() not in _NAMES_NO_OTHER
    return _without_named(kept, headers) if names_others else kept


def _without_named(kept: Headers, received: Headers) -> list[tuple[bytes, bytes]]:
    """Returns the headers that no Connection header of those received names."""
    stop = connection_options(received)
    return [pair for pair in kept if pair[0].lower() not in stop]


def trailers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Returns the trailer fields that may be forwarded."""
    return [pair for pair in headers if pair[0].lower() not in NOT_IN_TRAILERS]


def _is_settled_here(key: bytes) -> bool:
    """Whether the gateway itself writes this request header.

    An underscore counts as a dash, because a CGI service reads both alike.
    """
    key = key.replace(b"_", b"-")
    return key in SETTLED_HERE or key.startswith(FORWARDING_PREFIX)


def _request_rule(name: bytes) -> int:
    """Returns what happens to a request header of this name."""
    key = name.lower()
    if key == b"connection":
        return _CONNECTION
    if key == b"accept":
        return _ACCEPT
    return DROP if _is_settled_here(key) else KEEP


_request_rules = RuleCache(_request_rule)


def for_upstream(received: Headers) -> list[tuple[bytes, bytes]]:
    """Returns the client's own headers that are forwarded to an upstream, with any token.

    An event stream is requested uncompressed, because a compressor holds bytes back.
    """
    kept = []
    names_others = is_event_stream = False
    for pair in received:
        rule = _request_rules.of(pair[0])
        if rule == _CONNECTION:
            names_others = names_others or pair[1].lower() not in _NAMES_NO_OTHER
        elif rule != DROP:
            kept.append(pair)
            if rule == _ACCEPT:
                is_event_stream = is_event_stream or _names_event_stream(pair[1])
    if names_others:
        kept = _without_named(kept, received)
    if is_event_stream:
        kept = [pair for pair in kept if pair[0].lower() != b"accept-encoding"]
        kept.append((b"Accept-Encoding", b"identity"))
    return kept


def for_client(
    received: Headers, *, is_stream: bool, is_event_stream: bool
) -> list[tuple[bytes, bytes]]:
    """Returns an upstream's own headers that the client receives, and those against buffering."""
    kept = end_to_end(received)
    if is_stream:
        kept = [pair for pair in kept if pair[0].lower() != b"x-accel-buffering"]
        kept.append((b"X-Accel-Buffering", b"no"))
        if is_event_stream and first(kept, b"cache-control") is None:
            kept.append((b"Cache-Control", b"no-cache"))
    return kept
