"""Verifies a token, and makes an identity of its claims. Pure.

Bearer tokens are RFC 6750, JSON Web Tokens RFC 7519. RFC 8725 lists the attacks on them.
"""

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import jwt
from jwt.exceptions import InvalidSubjectError
from jwt.types import Options

from gateway.auth.credentials import TokenSource, find_token
from gateway.auth.jwks import KeySet
from gateway.auth.keys import FixedKeys, Keys
from gateway.auth.stream_tokens import TYPE, OneUseToken, StreamTokens
from gateway.config.model import Auth
from gateway.http.errors import (
    SCOPE_MISSING,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    Rejection,
)

MAX_REMEMBERED = 4096
_DATES = ("exp", "nbf", "iat")
_LAST_DATE = 253_402_300_799  # the end of the year 9999: larger numbers are milliseconds, or wrong
# The dates are checked in `_require_dates`.
_OPTIONS: Options = {
    "require": ["exp"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}
_SCOPE_CLAIMS = ("scope", "scopes", "scp")
# A key that the token brings itself, or the place of one. Thumbprints (x5t) only name a key.
_EMBEDDED_KEYS = frozenset({"jwk", "jku", "x5u", "x5c"})
_UNSAFE_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# Texts for the client. Those of PyJWT may quote the token.
_DETAILS: Mapping[type[Exception], str] = {
    jwt.DecodeError: "The token is not a well-formed JWT; send it whole and unchanged.",
    jwt.InvalidAlgorithmError: "The token is signed with an algorithm that is not accepted here.",
    jwt.InvalidSignatureError: "The token's signature does not match; was it signed with this key?",
    jwt.ImmatureSignatureError: "The token is not valid yet (nbf or iat); compare the clocks.",
    jwt.InvalidIssuerError: "The token's issuer (iss) does not match.",
    jwt.InvalidAudienceError: "The token's audience (aud) does not match.",
    InvalidSubjectError: "The token's subject (sub) is not a string.",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that a verified token proves.

    `subject` is empty without a `sub` claim. `expires_at` is in seconds since the epoch; for a
    one-use token it is that of the login token. `headers` are the forwarded claims for the
    upstream. Only a one-use token has a `one_use_token`, which has to be redeemed.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float
    source: TokenSource
    headers: tuple[tuple[bytes, bytes], ...]
    one_use_token: OneUseToken | None = None


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token whose signature and claims are valid, and the time for which it is.

    Dates are compared as PyJWT does: whole seconds since the epoch, before any leeway.
    """

    identity: Identity
    expires: int
    begins: int

    @classmethod
    def of(cls, identity: Identity, claims: Mapping[str, Any]) -> "_Verified":
        return cls(identity, *_holding(claims))

    def holds(self, now: float, leeway: float) -> bool:
        return self.expires > now - leeway and self.begins <= now + leeway


class Authenticator:
    """Verifies tokens by the rules of `auth`, with keys that are prepared once.

    A verified login token is remembered by its digest, up to `MAX_REMEMBERED` of them. When it is
    used again, only its dates are checked. Rejected tokens and one-use tokens are never remembered.

    Raises ValueError, with a text for the operator, if a key does not fit a configured algorithm.
    Without any key it rejects all tokens until `use` sets keys.
    """

    def __init__(self, auth: Auth, own_key: bytes | None = None) -> None:
        """`own_key` signs one-use tokens if there is no secret. See `StreamTokens`."""
        self._auth = auth
        self._login_auth = replace(auth, query=None)
        self._keys: Keys = FixedKeys(auth) if auth.jwks_url is None else KeySet(auth.algorithms, {})
        self._jwt = jwt.PyJWT({**_OPTIONS, "verify_aud": bool(auth.audience)})
        self._remembered: dict[bytes, _Verified] = {}
        self._headers = [(claim, name.encode("ascii")) for claim, name in auth.forward_claims]
        claims = (*_SCOPE_CLAIMS, *(claim for claim, _ in auth.forward_claims))
        self._stream_tokens = StreamTokens(auth, claims, own_key) if auth.token_endpoint else None

    def use(self, keys: Keys) -> None:
        """Verify with these keys from now on, also the tokens that are remembered."""
        self._keys = keys
        self._remembered.clear()

    def authenticate(
        self, *, authorization: Sequence[bytes], query: bytes, cookies: Sequence[bytes]
    ) -> Identity:
        """Returns the identity that a token proves.

        `authorization` and `cookies` are header values as received; `query` is percent-encoded,
        without its question mark. The first token present decides, in the order of `TokenSource`.

        Raises Rejection: TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED. It is `KeyUnknown` if a
        newer set of keys may have the key.
        """
        token, source = find_token(self._auth, authorization, query, cookies)
        key = source.encode() + sha256(token).digest()
        known = self._remembered.get(key)
        if known is not None and known.holds(time.time(), self._auth.leeway):
            return known.identity
        claims, one_use_token = self._verify(token)
        identity = self._identity(claims, source, one_use_token)
        if one_use_token is None:
            self._remember(key, _Verified.of(identity, claims))
        return identity

    def login(
        self, *, authorization: Sequence[bytes], cookies: Sequence[bytes]
    ) -> tuple[Identity, Mapping[str, Any]]:
        """Returns the identity and the claims of a login token, which may get a one-use token.

        Raises Rejection, as `authenticate` does.
        """
        token, source = find_token(self._login_auth, authorization, b"", cookies)
        claims, one_use_token = self._verify(token)
        if one_use_token is not None:
            raise Rejection(TOKEN_INVALID, "A one-use token gets no other. Send the login token.")
        return self._identity(claims, source, None), claims

    def issue(self, login: Mapping[str, Any], path: str) -> tuple[str, int]:
        """Returns a one-use token for these claims. See `StreamTokens.issue`."""
        if self._stream_tokens is None:
            raise Rejection(TOKEN_INVALID)
        return self._stream_tokens.issue(login, path)

    def _identity(
        self, claims: Mapping[str, Any], source: TokenSource, one_use_token: OneUseToken | None
    ) -> Identity:
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
            one_use_token=one_use_token,
        )

    def _remember(self, key: bytes, verified: _Verified) -> None:
        self._remembered.pop(key, None)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]  # verified the longest time ago
        self._remembered[key] = verified

    def _verify(self, token: bytes) -> tuple[dict[str, Any], OneUseToken | None]:
        try:
            header = jwt.get_unverified_header(token)
            if self._stream_tokens is not None and header.get("typ") == TYPE:
                return self._stream_tokens.read(token)
            return self._verify_login(token, header), None
        # Hostile bytes make PyJWT, json and cryptography raise more than they document.
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise _rejection(error) from None

    def _verify_login(self, token: bytes, header: Mapping[str, Any]) -> dict[str, Any]:
        algorithm = _algorithm(header)
        *others, last = self._keys.find(algorithm, header.get("kid"))
        for key in others:
            with contextlib.suppress(jwt.InvalidSignatureError):
                return self._decode(token, key, algorithm)
        return self._decode(token, last, algorithm)

    def _decode(self, token: bytes, key: Any, algorithm: str) -> dict[str, Any]:
        claims = self._jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._auth.audience or None,
            issuer=self._auth.issuer,
        )
        _require_dates(claims, self._auth.leeway)
        return claims


def _algorithm(header: Mapping[str, Any]) -> str:
    """Returns the algorithm that a token names; each algorithm has its own keys."""
    if not _EMBEDDED_KEYS.isdisjoint(header):
        raise Rejection(
            TOKEN_INVALID, "The token brings its own key (jwk, jku, x5u, x5c); remove it."
        )
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise jwt.InvalidAlgorithmError
    return algorithm


def _require_dates(claims: Mapping[str, Any], leeway: float) -> None:
    """Rejects a token whose dates are no JSON numbers, or are not valid now (RFC 7519, 4.1.4 to 6).

    PyJWT does not check this: it reads "12" and true as numbers.
    """
    for name in _DATES:
        date = claims.get(name, 0)
        if not _is_number(date) or not -_LAST_DATE <= date <= _LAST_DATE:
            raise Rejection(
                TOKEN_INVALID, f'The token\'s "{name}" is not a date in seconds since 1970.'
            )
    expires, begins = _holding(claims)
    now = time.time()
    if expires <= now - leeway:
        raise jwt.ExpiredSignatureError
    if begins > now + leeway:
        raise jwt.ImmatureSignatureError


def _holding(claims: Mapping[str, Any]) -> tuple[int, int]:
    """Returns when a token expires and when it begins to be valid, in seconds since the epoch."""
    begins = (int(claims[name]) for name in ("nbf", "iat") if name in claims)
    return int(claims["exp"]), max(begins, default=0)


def require_scopes(identity: Identity, required: Iterable[str]) -> None:
    """Raises Rejection SCOPE_MISSING, with the names of the missing scopes (RFC 6750, 3.1)."""
    missing = sorted(set(required) - identity.scopes)
    if missing:
        raise Rejection(SCOPE_MISSING, f"The token does not have: {', '.join(missing)}.")


def _rejection(error: Exception) -> Rejection:
    reason = type(error).__name__
    if isinstance(error, jwt.ExpiredSignatureError):
        return Rejection(TOKEN_EXPIRED, "The token has expired. Get a new one.", reason=reason)
    if isinstance(error, jwt.MissingRequiredClaimError):
        detail = f'The token has no "{error.claim}" claim.'
        return Rejection(TOKEN_INVALID, detail, reason=reason)
    detail = next((_DETAILS[kind] for kind in type(error).__mro__ if kind in _DETAILS), "")
    return Rejection(TOKEN_INVALID, detail, reason=reason)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _subject(claims: Mapping[str, Any]) -> str:
    subject: str = claims.get("sub", "")  # PyJWT has checked that it is a string
    if _UNSAFE_TEXT.search(subject):
        raise Rejection(TOKEN_INVALID, "The token's subject (sub) holds control characters.")
    return subject


def _scopes(claims: Mapping[str, Any]) -> Iterator[str]:
    """Yields the scopes of all three claims that are in use; other types grant nothing."""
    for name in _SCOPE_CLAIMS:
        granted = claims.get(name)
        if isinstance(granted, str):
            yield from filter(None, granted.split(" "))
        elif isinstance(granted, list):
            yield from (scope for scope in granted if isinstance(scope, str))


def _header_value(claim: str, value: object) -> bytes:
    """Returns a claim as a header value, in UTF-8.

    A value that an upstream would read differently is rejected: control characters, spaces at an
    end (which HTTP removes), and a comma within an item of a list.
    """
    text = _header_text(value)
    if text is None or _UNSAFE_TEXT.search(text) or text != text.strip():
        raise Rejection(TOKEN_INVALID, f'The token\'s "{claim}" does not fit into a header.')
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
