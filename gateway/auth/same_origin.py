"""The same-origin rule: with a cookie alone, a page of another site must not start a job."""

import re

from gateway.auth.cors import CorsPolicy
from gateway.http.errors import ORIGIN_DENIED, Rejection
from gateway.http.forwarded import Client
from gateway.http.headers import Headers, first

_AUTHORITY = r"(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\]+)(?::([0-9]{1,5}))?"
_HOST = re.compile(_AUTHORITY.encode())
_ORIGIN = re.compile(f"(https?)://{_AUTHORITY}".encode())
_DEFAULT_PORTS = {"http": 80, "https": 443}


def require_same_origin(headers: Headers, client: Client, policy: CorsPolicy | None = None) -> None:
    """Raises Rejection ORIGIN_DENIED if a page of another origin uses the user's cookie.

    A listed origin may use it if the route's `policy` allows credentials.

    Browsers send `Origin` with all but plain GET and HEAD (Fetch standard). With those they send
    Sec-Fetch-Site and Sec-Fetch-Mode, so that an `<img>` of another site cannot start a job. If TLS
    may end unseen in front of the gateway, the scheme of the Origin is accepted.
    """
    origin = first(headers, b"origin")
    if origin is None:
        site, mode = first(headers, b"sec-fetch-site"), first(headers, b"sec-fetch-mode")
        if site == b"cross-site" and mode == b"no-cors":
            raise _denied("Another site's page may not load this with the cookie")
        return
    if policy is not None and policy.allows_cookie(origin):
        return
    theirs, ours = _ORIGIN.fullmatch(origin.lower()), _HOST.fullmatch(client.host.lower())
    if theirs is None or ours is None:
        raise _denied("The Origin is not that of a web page here")
    their_scheme = theirs[1].decode()
    our_scheme = client.scheme if client.scheme_is_known else their_scheme
    if (their_scheme, theirs[2], _port(theirs[3], their_scheme)) != (
        our_scheme,
        ours[1],
        _port(ours[2], our_scheme),
    ):
        raise _denied("A page of this origin may not use the cookie")


def _port(digits: bytes | None, scheme: str) -> int:
    return int(digits) if digits else _DEFAULT_PORTS[scheme]


def _denied(cause: str) -> Rejection:
    return Rejection(
        ORIGIN_DENIED,
        f"{cause}: call from a page of the gateway's own origin, or send a Bearer or query token.",
        reason="the origin is neither our own nor one that cors lists with credentials: true",
    )
