"""The address of the client and the scheme that it used, from X-Forwarded headers. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.http.headers import Headers, first, values

Networks = Sequence[IPv4Network | IPv6Network]

LONGEST_ADDRESS = 64  # characters of an address that is not valid
SUBSCRIBER = 64  # bits: one client has all addresses of an IPv6 network of this size (RFC 6177)


class Client:
    """Where a request comes from, as far as the gateway can know.

    `scheme_is_known` is False if TLS may have ended unseen in front of the gateway.
    """

    def __init__(
        self,
        address: str,
        scheme: str,
        host: bytes,
        forwarded: Sequence[tuple[bytes, bytes]],
        *,
        scheme_is_known: bool,
    ) -> None:
        self.address = address
        self.scheme = scheme
        self.host = host
        self.forwarded = forwarded
        # Only a trusted proxy knows the scheme that the client used.
        self.scheme_is_known = scheme_is_known


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    """Returns an address, also an IPv4 one that is written as IPv6; None if it is not valid."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped
    return parsed


def subscriber(address: str) -> str:
    """Returns what limits apply to: an IPv4 address, or the /64 network of an IPv6 address."""
    parsed = _parsed(address)
    if parsed is None:
        return address[:LONGEST_ADDRESS]
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    prefix = int(parsed) >> SUBSCRIBER << SUBSCRIBER
    return f"{IPv6Address(prefix)}/{SUBSCRIBER}"


def is_trusted(address: str, networks: Networks) -> bool:
    """Whether an address is in one of these networks, those of the trusted proxies."""
    if not networks:
        return False
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _client_address(peer: str, chain: list[str], trusted: Networks) -> str:
    """Returns the nearest address that is not a trusted proxy: what lies beyond may be invented."""
    address = peer
    for hop in reversed(chain):
        if not is_trusted(address, trusted):
            break
        address = hop
    return address


def addresses(headers: Headers) -> list[str]:
    """Returns the addresses in X-Forwarded-For; the first is said to be the client's."""
    return [
        hop.strip().decode("latin-1")
        for value in values(headers, b"x-forwarded-for")
        for hop in value.split(b",")
        if hop.strip()
    ]


def client_of(headers: Headers, peer: str, trusted: Networks) -> Client:
    """Returns the client, from the connection and from the headers of trusted proxies.

    Headers from a peer that is not trusted are ignored. X-Forwarded-For is read from the right.
    """
    host = first(headers, b"host") or b""
    if not is_trusted(peer, trusted):
        forwarded = _forwarded(peer.encode(), b"http", host)
        return Client(peer, "http", host, forwarded, scheme_is_known=False)
    chain = addresses(headers)
    proto = (first(headers, b"x-forwarded-proto") or b"").strip().lower()
    scheme = proto if proto in {b"http", b"https"} else b"http"
    host = first(headers, b"x-forwarded-host") or host
    return Client(
        _client_address(peer, chain, trusted),
        scheme.decode(),
        host,
        _forwarded(", ".join([*chain, peer]).encode("latin-1"), scheme, host),
        scheme_is_known=scheme == proto,
    )


def _forwarded(chain: bytes, scheme: bytes, host: bytes) -> tuple[tuple[bytes, bytes], ...]:
    pairs = ((b"X-Forwarded-For", chain), (b"X-Forwarded-Proto", scheme))
    return (*pairs, (b"X-Forwarded-Host", host)) if host else pairs
