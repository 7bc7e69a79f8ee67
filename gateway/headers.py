"""What is done to headers, paths and cookies at the edge: pure functions over raw bytes.

Headers are lists of (name, value) pairs of bytes, in the order received and with the case received,
so that repeated headers keep their number and order and nothing is re-encoded on the way.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote_to_bytes

from gateway.config import Auth, HeaderRules

Headers = Sequence[tuple[bytes, bytes]]

EVENT_STREAM = b"text/event-stream"

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
# What a client may say of itself is worth nothing unless a trusted proxy says it.
FORWARDING = frozenset({b"forwarded", b"x-real-ip"})
FORWARDING_PREFIX = b"x-forwarded-"
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
    return [value for key, value in headers if key.lower() == name]


def first(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, or None."""
    return next((value for key, value in headers if key.lower() == name), None)


def serialize(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines as they stand on the wire, each with its CRLF."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


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


def accepts_event_stream(headers: Headers) -> bool:
    """Whether Accept names `text/event-stream` itself, as every EventSource does (HTML 9.2.2)."""
    return any(
        media_type(item) == EVENT_STREAM
        for value in values(headers, b"accept")
        for item in value.split(b",")
    )


def connection_options(headers: Headers) -> set[bytes]:
    """What the Connection headers name, in lower case (RFC 9110 7.6.1)."""
    return {
        option.strip().lower()
        for value in values(headers, b"connection")
        for option in value.split(b",")
    }


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that go past this hop: none that are hop-by-hop, or named by Connection."""
    stop = HOP_BY_HOP | connection_options(headers)
    return [pair for pair in headers if pair[0].lower() not in stop]


def trailers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The trailer fields that may go on."""
    return [pair for pair in headers if pair[0].lower() not in NOT_IN_TRAILERS]


@dataclass(frozen=True, slots=True)
class Edits:
    """Header rules of a route, ready to be applied to raw headers."""

    drop: frozenset[bytes]
    add: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, rules: HeaderRules) -> "Edits":
        """Rules as bytes; a header that is set replaces all of its name."""
        add = tuple((name.encode(), value.encode()) for name, value in rules.set)
        names = [name.lower() for name, _ in add]
        return cls(frozenset([*names, *(name.lower().encode() for name in rules.remove)]), add)

    def apply(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The headers with the rules applied."""
        if self.drop:
            headers = [pair for pair in headers if pair[0].lower() not in self.drop]
        return [*headers, *self.add]


def _without(pairs: list[bytes], is_named: Callable[[bytes], bool]) -> list[bytes]:
    return [pair for pair in pairs if not is_named(pair)]


def without_parameter(query: bytes, name: str) -> bytes:
    """A query less every pair of that name; the rest stays byte for byte."""
    wanted = name.encode()

    def is_named(pair: bytes) -> bool:
        return unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" ")) == wanted

    return b"&".join(_without(query.split(b"&"), is_named))


def without_cookie(value: bytes, name: str) -> bytes:
    """A Cookie value less every cookie of that name; the rest stays byte for byte."""
    wanted = name.encode()

    def is_named(pair: bytes) -> bool:
        return pair.partition(b"=")[0].strip() == wanted

    kept = _without(value.split(b";"), is_named)
    return b";".join(kept).lstrip() if len(kept) < value.count(b";") + 1 else value


def without_token(target: bytes, name: str) -> bytes:
    """A request target or URL less its token pairs; without a query left, without its `?`."""
    path, mark, query = target.partition(b"?")
    if not mark:
        return target
    query, hash_mark, fragment = query.partition(b"#")
    kept = without_parameter(query, name)
    if kept == query:
        return target
    return path + (b"?" + kept if kept else b"") + hash_mark + fragment


@dataclass(frozen=True, slots=True)
class Client:
    """Who sent a request, and over what, as far as this hop can know.

    `scheme_is_known` is False where TLS may have ended in front of the gateway unseen.
    """

    address: str
    scheme: str
    host: bytes
    forwarded: tuple[tuple[bytes, bytes], ...]
    is_proxied: bool

    @property
    def scheme_is_known(self) -> bool:
        """Only a trusted proxy can tell what the browser spoke."""
        return self.is_proxied


Networks = Sequence[IPv4Network | IPv6Network]


def _is_within(address: str, networks: Networks) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def _client_address(peer: str, chain: list[str], trusted: Networks) -> str:
    """The nearest address that is not a trusted proxy's: what lies beyond it may be invented."""
    address = peer
    for hop in reversed(chain):
        if not _is_within(address, trusted):
            break
        address = hop
    return address


def client_of(headers: Headers, peer: str, trusted: Networks) -> Client:
    """Who the client is, from the connection and from what trusted proxies say of it.

    From an untrusted peer no forwarding header counts. X-Forwarded-For is read from the right.
    """
    host = first(headers, b"host") or b""
    if not _is_within(peer, trusted):
        forwarded = _forwarded(peer.encode(), b"http", host)
        return Client(peer, "http", host, forwarded, is_proxied=False)
    chain = [
        hop.strip().decode("latin-1")
        for value in values(headers, b"x-forwarded-for")
        for hop in value.split(b",")
        if hop.strip()
    ]
    proto = (first(headers, b"x-forwarded-proto") or b"").strip().lower()
    scheme = proto if proto in {b"http", b"https"} else b"http"
    host = first(headers, b"x-forwarded-host") or host
    return Client(
        _client_address(peer, chain, trusted),
        scheme.decode(),
        host,
        _forwarded(", ".join([*chain, peer]).encode("latin-1"), scheme, host),
        is_proxied=scheme == proto,
    )


def _forwarded(chain: bytes, scheme: bytes, host: bytes) -> tuple[tuple[bytes, bytes], ...]:
    pairs = ((b"X-Forwarded-For", chain), (b"X-Forwarded-Proto", scheme))
    return (*pairs, (b"X-Forwarded-Host", host)) if host else pairs


@dataclass(frozen=True, slots=True)
class Credentials:
    """The names under which a token may come, all of which stop here."""

    query: str | None
    cookie: str | None
    claim_headers: frozenset[bytes]  # lower case, dashes for underscores

    @classmethod
    def of(cls, auth: Auth) -> "Credentials":
        """The names that `auth` gives."""
        headers = (name.lower().replace("_", "-").encode() for _, name in auth.forward_claims)
        return cls(auth.query, auth.cookie, frozenset(headers))

    def strip_from(self, pair: tuple[bytes, bytes]) -> tuple[bytes, bytes] | None:
        """A request header without the token, or None where nothing of it may go on.

        Services behind CGI or WSGI read `X_User_Id` and `X-User-Id` as one name: both are dropped.
        """
        name, value = pair
        key = name.lower()
        if key.replace(b"_", b"-") in self.claim_headers:
            return None
        if key == b"cookie" and self.cookie is not None:
            value = without_cookie(value, self.cookie)
            return (name, value) if value else None
        if key == b"referer" and self.query is not None:
            return name, without_token(value, self.query)
        return pair


def _is_settled_here(name: bytes) -> bool:
    """Whether the gateway writes this request header itself, whatever the client sent."""
    key = name.lower().replace(b"_", b"-")
    return (
        key in FORWARDING
        or key.startswith(FORWARDING_PREFIX)
        or key in {b"host", b"content-length", b"x-request-id", b"traceparent"}
    )


def for_upstream(
    received: Headers, credentials: Credentials, *, is_authenticated: bool
) -> list[tuple[bytes, bytes]]:
    """The client's own headers that the service may see.

    The Authorization header goes on only from a route that asks for no token: there the gateway
    has no claim on it. An event stream is asked for uncompressed: a compressor holds bytes back.
    """
    kept = [
        clean
        for pair in end_to_end(received)
        if not _is_settled_here(pair[0]) and (clean := credentials.strip_from(pair))
    ]
    if is_authenticated:
        kept = [pair for pair in kept if not _is_bearer(pair)]
    if accepts_event_stream(received):
        kept = [pair for pair in kept if pair[0].lower() != b"accept-encoding"]
        kept.append((b"Accept-Encoding", b"identity"))
    return kept


def _is_bearer(pair: tuple[bytes, bytes]) -> bool:
    return pair[0].lower() == b"authorization" and pair[1].lower().startswith(b"bearer")


def for_client(received: Headers, *, is_event_stream: bool) -> list[tuple[bytes, bytes]]:
    """The service's own headers that the browser gets, with what keeps event streams unbuffered."""
    kept = end_to_end(received)
    if is_event_stream:
        kept = [pair for pair in kept if pair[0].lower() != b"x-accel-buffering"]
        kept.append((b"X-Accel-Buffering", b"no"))
        if first(kept, b"cache-control") is None:
            kept.append((b"Cache-Control", b"no-cache"))
    return kept
