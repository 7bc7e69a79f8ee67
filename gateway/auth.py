"""Who is asking: find the token, verify it, say who it is. Pure.

Bearer tokens are RFC 6750, JSON Web Tokens RFC 7519; RFC 8725 says what attackers try.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_to_bytes

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.exceptions import InvalidSubjectError

from gateway.config import MAX_TOKEN, Auth
from gateway.errors import (
    ORIGIN_DENIED,
    SCOPE_MISSING,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    TOKEN_MISSING,
    Refusal,
)

_DATES = ("exp", "nbf", "iat")
_LAST_DATE = 253_402_300_799  # the end of the year 9999: past it are milliseconds and nonsense
_SCOPE_CLAIMS = ("scope", "scopes", "scp")
# A key, or where to fetch one, from whoever made the token. Thumbprints (x5t) only name a key.
_EMBEDDED_KEYS = frozenset({"jwk", "jku", "x5u", "x5c"})
_UNSAFE_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# What PyJWT found wrong, in words for the client. Its own may quote the token.
_DETAILS: Mapping[type[Exception], str] = {
    jwt.DecodeError: "The token is not a well-formed JWT; send it whole and unchanged.",
    jwt.InvalidAlgorithmError: "The token is signed with an algorithm that is not accepted here.",
    jwt.InvalidSignatureError: "The token's signature does not match; was it signed with this key?",
    jwt.ImmatureSignatureError: "The token is not valid yet (nbf or iat); compare the clocks.",
    jwt.InvalidIssuerError: "The token's issuer (iss) does not match.",
    jwt.InvalidAudienceError: "The token's audience (aud) does not match.",
    InvalidSubjectError: "The token's subject (sub) is not a string.",
}


class TokenSource(StrEnum):
    """Where in the request the token was."""

    AUTHORIZATION = "authorization"
    QUERY = "query"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token says is asking.

    `subject` is empty without a `sub` claim. `expires_at` is in seconds since the epoch.
    `headers` are the forwarded claims, ready for the upstream.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float
    source: TokenSource
    headers: tuple[tuple[bytes, bytes], ...]


class Authenticator:
    """Verifies tokens as `auth` says, with the keys prepared once.

    Raises ValueError, fit for an operator, when a key does not serve a configured algorithm.
    Without any key there is nothing that it would let in.
    """

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._keys = _prepared_keys(auth)
        self._jwt = _StrictJWT({"require": ["exp"], "verify_aud": bool(auth.audience)})
        self._headers = [(claim, name.encode("ascii")) for claim, name in auth.forward_claims]

    def authenticate(
        self, *, authorization: Sequence[bytes], query: bytes, cookies: Sequence[bytes]
    ) -> Identity:
        """Say who is asking.

        `authorization` and `cookies` are header values as received; `query` is percent-encoded,
        without its question mark. The first token present decides, in the order of `TokenSource`.

        Raises Refusal: TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED.
        """
        token, source = self._find(authorization, query, cookies)
        claims = self._verify(token)
        return Identity(
            subject=_subject(claims),
            scopes=frozenset(_scopes(claims)),
            expires_at=float(claims["exp"]),
            source=source,
            headers=tuple(
                (name, _header_value(claim, claims[claim]))
                for claim, name in self._headers
                if claims.get(claim) is not None
            ),
        )

    def _find(
        self, authorization: Sequence[bytes], query: bytes, cookies: Sequence[bytes]
    ) -> tuple[bytes, TokenSource]:
        auth = self._auth
        if auth.bearer and (tokens := list(_bearer_tokens(authorization))):
            return _single(tokens), TokenSource.AUTHORIZATION
        if auth.query is not None and (tokens := list(_query_values(query, auth.query.encode()))):
            return _single(tokens), TokenSource.QUERY
        if auth.cookie is not None and (
            tokens := list(_cookie_values(cookies, auth.cookie.encode()))
        ):
            return _single(tokens), TokenSource.COOKIE
        raise Refusal(TOKEN_MISSING, f"This route needs a token: send it {_places(auth)}.")

    def _verify(self, token: bytes) -> dict[str, Any]:
        try:
            algorithm = self._algorithm(jwt.get_unverified_header(token))
            return self._jwt.decode(
                token,
                self._keys[algorithm],
                algorithms=[algorithm],
                audience=self._auth.audience or None,
                issuer=self._auth.issuer,
                leeway=self._auth.leeway,
            )
        # Hostile bytes may take PyJWT, json and cryptography beyond the errors they document.
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise _refusal(error) from None

    def _algorithm(self, header: Mapping[str, Any]) -> str:
        """Return the token's algorithm, if it is one of ours: each is bound to its own key."""
        if not _EMBEDDED_KEYS.isdisjoint(header):
            raise Refusal(
                TOKEN_INVALID, "The token brings its own key (jwk, jku, x5u, x5c); leave it out."
            )
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._keys:
            raise jwt.InvalidAlgorithmError
        return algorithm


class _StrictJWT(jwt.PyJWT):
    """PyJWT, but a date must be a JSON number: its own check takes "12" and true for one."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        claims = super()._decode_payload(decoded)
        for name in _DATES:
            date = claims.get(name, 0)
            if not _is_number(date) or not -_LAST_DATE <= date <= _LAST_DATE:
                raise Refusal(
                    TOKEN_INVALID, f'The token\'s "{name}" is not a date in seconds since 1970.'
                )
        return claims


def require_scopes(identity: Identity, required: Iterable[str]) -> None:
    """Raise Refusal SCOPE_MISSING, naming what the token lacks (RFC 6750, 3.1)."""
    missing = sorted(set(required) - identity.scopes)
    if missing:
        raise Refusal(SCOPE_MISSING, f"The token lacks: {', '.join(missing)}.")


_AUTHORITY = r"(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\]+)(?::([0-9]{1,5}))?"
_HOST = re.compile(_AUTHORITY.encode())
_ORIGIN = re.compile(f"(https?)://{_AUTHORITY}".encode())
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OTHER_SITES = (b"cross-site", b"same-site")


def require_same_origin(  # noqa: PLR0913 - six facts of one request, and all are needed
    *,
    origin: bytes | None,
    fetch_site: bytes | None,
    fetch_mode: bytes | None,
    scheme: str,
    host: bytes,
    scheme_is_known: bool,
) -> None:
    """Raise Refusal ORIGIN_DENIED where a page of another origin rides on the user's cookie.

    Browsers send `Origin` with all but plain GET and HEAD (Fetch standard), and Sec-Fetch-Site and
    Sec-Fetch-Mode with those too: an `<img>` of another site must not start a job. Where TLS may
    end in front of us, `scheme_is_known` is False and the Origin's own scheme is taken.
    """
    if origin is None:
        if fetch_site in _OTHER_SITES and fetch_mode == b"no-cors":
            raise _denied("Another site's page may not load this with the cookie")
        return
    theirs, ours = _ORIGIN.fullmatch(origin.lower()), _HOST.fullmatch(host.lower())
    if theirs is None or ours is None:
        raise _denied("The Origin is not that of a web page here")
    their_scheme = theirs[1].decode()
    our_scheme = scheme.lower() if scheme_is_known else their_scheme
    if (their_scheme, theirs[2], _port(theirs[3], their_scheme)) != (
        our_scheme,
        ours[1],
        _port(ours[2], our_scheme),
    ):
        raise _denied("A page of this origin may not use the cookie")


def _port(digits: bytes | None, scheme: str) -> int:
    return int(digits) if digits else _DEFAULT_PORTS[scheme]


def _denied(cause: str) -> Refusal:
    return Refusal(
        ORIGIN_DENIED,
        f"{cause}: call from a page of the gateway's own origin, or send a Bearer or query token.",
    )


_KEY_FAULTS = (jwt.PyJWTError, UnsupportedAlgorithm, NotImplementedError, TypeError, ValueError)


def _prepared_keys(auth: Auth) -> dict[str, Any]:
    if auth.secret is None and auth.public_key is None:
        return {}
    return {name: _prepared_key(name, auth) for name in auth.algorithms}


def _prepared_key(name: str, auth: Auth) -> Any:
    """Return the key for one algorithm: the secret for HMAC, the public key for all others."""
    field, text = ("secret", auth.secret) if name[:2] == "HS" else ("public_key", auth.public_key)
    if text is None:
        raise ValueError(f"auth.algorithms has {name}, which needs auth.{field}: set it")
    try:
        algorithm = jwt.get_algorithm_by_name(name)
        key = algorithm.prepare_key(text)
    except _KEY_FAULTS as error:
        raise ValueError(f"auth.{field} does not serve {name}: {error}") from None
    if hasattr(key, "private_bytes"):
        raise ValueError(f"auth.{field} holds a private key: put the public one there")
    if weakness := algorithm.check_key_length(key):
        raise ValueError(f"auth.{field} is too short for {name}: {weakness}")
    return key


def _bearer_tokens(authorization: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the credentials of the Bearer scheme; another scheme's are none of our business."""
    for value in authorization:
        scheme, _, credentials = value.strip(b" \t").partition(b" ")
        if scheme.lower() == b"bearer":
            yield credentials.strip(b" \t")


def _query_values(query: bytes, name: bytes) -> Iterator[bytes]:
    """Yield every value of `name`, read as a form is (URL standard, 5.1)."""
    for pair in query.split(b"&"):
        key, _, value = pair.replace(b"+", b" ").partition(b"=")
        if unquote_to_bytes(key) == name:
            yield unquote_to_bytes(value)


def _cookie_values(cookies: Sequence[bytes], name: bytes) -> Iterator[bytes]:
    """Yield every value of `name`, less its quotes (RFC 6265, 4.1.1)."""
    for pair in b";".join(cookies).split(b";"):
        key, equals, value = pair.partition(b"=")
        if equals and key.strip(b" \t") == name:
            value = value.strip(b" \t")
            quoted = len(value) > 1 and value[:1] == value[-1:] == b'"'
            yield value[1:-1] if quoted else value


def _single(tokens: Sequence[bytes]) -> bytes:
    """Return the only token. Of two, one reader would take the first and another the last."""
    token = tokens[0]
    if len(tokens) > 1:
        raise Refusal(TOKEN_INVALID, "The token came more than once; send it once.")
    if not token:
        raise Refusal(TOKEN_INVALID, "The token is empty; send one, or leave its place out.")
    if len(token) > MAX_TOKEN:
        raise Refusal(TOKEN_INVALID, f"The token is over {MAX_TOKEN} bytes; send a smaller one.")
    return token


def _places(auth: Auth) -> str:
    places = (
        "as 'Authorization: Bearer'" if auth.bearer else "",
        f"as '?{auth.query}=' in the URL" if auth.query is not None else "",
        f"in the cookie '{auth.cookie}'" if auth.cookie is not None else "",
    )
    return " or ".join(filter(None, places))


def _refusal(error: Exception) -> Refusal:
    reason = type(error).__name__
    if isinstance(error, jwt.ExpiredSignatureError):
        return Refusal(TOKEN_EXPIRED, "The token expired; get a new one.", reason=reason)
    if isinstance(error, jwt.MissingRequiredClaimError):
        detail = f'The token has no "{error.claim}" claim.'
        return Refusal(TOKEN_INVALID, detail, reason=reason)
    detail = next((_DETAILS[kind] for kind in type(error).__mro__ if kind in _DETAILS), "")
    return Refusal(TOKEN_INVALID, detail, reason=reason)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _subject(claims: Mapping[str, Any]) -> str:
    subject: str = claims.get("sub", "")  # PyJWT has seen that it is a string
    if _UNSAFE_TEXT.search(subject):
        raise Refusal(TOKEN_INVALID, "The token's subject (sub) holds control characters.")
    return subject


def _scopes(claims: Mapping[str, Any]) -> Iterator[str]:
    """Yield the scopes of all three claims that are in use; other shapes grant nothing."""
    for name in _SCOPE_CLAIMS:
        granted = claims.get(name)
        if isinstance(granted, str):
            yield from filter(None, granted.split(" "))
        elif isinstance(granted, list):
            yield from (scope for scope in granted if isinstance(scope, str))


def _header_value(claim: str, value: object) -> bytes:
    """Return a claim as a header value, in UTF-8.

    What a service would read differently from what was signed is refused: control characters,
    outer spaces (which HTTP strips), and a comma within one item of a list.
    """
    text = _header_text(value)
    if text is None or _UNSAFE_TEXT.search(text) or text != text.strip():
        raise Refusal(TOKEN_INVALID, f'The token\'s "{claim}" does not fit into a header.')
    return text.encode()


def _header_text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, list) and all(map(_is_list_item, value)):
        return ",".join(value)
    return None


def _is_list_item(value: object) -> bool:
    return isinstance(value, str) and "," not in value and value == value.strip()
