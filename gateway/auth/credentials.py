"""Finds a token in a request, and removes it.

Both readings of a query or a cookie are in this file, so that exactly what is found is removed.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.config.model import MAX_TOKEN, Auth
from gateway.http.errors import TOKEN_INVALID, TOKEN_MISSING, Rejection
from gateway.http.headers import DROP, KEEP, RuleCache


class TokenSource(StrEnum):
    """Where in the request the token was."""

    AUTHORIZATION = "authorization"
    QUERY = "query"
    COOKIE = "cookie"


def find_token(
    auth: Auth, authorization: Sequence[bytes], query: bytes, cookies: Sequence[bytes]
) -> tuple[bytes, TokenSource]:
    """Returns the first token present, in the order of `TokenSource`, and where it was.

    `authorization` and `cookies` are header values as received; `query` is percent-encoded, without
    its question mark. Raises Rejection: TOKEN_MISSING, or TOKEN_INVALID for a token that is empty,
    too large, or present twice.
    """
    if auth.bearer and (tokens := list(_bearer_tokens(authorization))):
        return _single(tokens), TokenSource.AUTHORIZATION
    if auth.query is not None and (tokens := list(_query_values(query, auth.query.encode()))):
        return _single(tokens), TokenSource.QUERY
    if auth.cookie is not None and (tokens := list(_cookie_values(cookies, auth.cookie.encode()))):
        return _single(tokens), TokenSource.COOKIE
    raise Rejection(TOKEN_MISSING, f"This route needs a token: send it {_places(auth)}.")


def _bearer_tokens(authorization: Sequence[bytes]) -> Iterator[bytes]:
    """Yields the credentials of the Bearer scheme; other schemes are ignored."""
    for value in authorization:
        scheme, _, credentials = value.strip(b" \t").partition(b" ")
        if scheme.lower() == b"bearer":
            yield credentials.strip(b" \t")


def _query_values(query: bytes, name: bytes) -> Iterator[bytes]:
    """Yields every value of `name`, read as a form is (URL standard, 5.1)."""
    for pair in query.split(b"&"):
        if _parameter_name(pair) == name:
            yield unquote_to_bytes(pair.partition(b"=")[2].replace(b"+", b" "))


def _parameter_name(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" "))


def _cookie_values(cookies: Sequence[bytes], name: bytes) -> Iterator[bytes]:
    """Yields every value of `name`, without its quotes (RFC 6265, 4.1.1)."""
    for pair in b";".join(cookies).split(b";"):
        key, equals, value = pair.partition(b"=")
        if equals and key.strip(b" \t") == name:
            value = value.strip(b" \t")
            quoted = len(value) > 1 and value[:1] == value[-1:] == b'"'
            yield value[1:-1] if quoted else value


def _single(tokens: Sequence[bytes]) -> bytes:
    """Returns the only token. Of two, one reader would take the first and another the last."""
    token = tokens[0]
    if len(tokens) > 1:
        raise Rejection(TOKEN_INVALID, "The request has more than one token. Send exactly one.")
    if not token:
        raise Rejection(TOKEN_INVALID, "The token is empty. Send one, or remove the parameter.")
    if len(token) > MAX_TOKEN:
        raise Rejection(TOKEN_INVALID, f"The token is over {MAX_TOKEN} bytes. Send a smaller one.")
    return token


def _places(auth: Auth) -> str:
    places = (
        "as 'Authorization: Bearer'" if auth.bearer else "",
        f"as '?{auth.query}=' in the URL" if auth.query is not None else "",
        f"in the cookie '{auth.cookie}'" if auth.cookie is not None else "",
    )
    return " or ".join(filter(None, places))


# What happens to a request header, by its name, beside `KEEP` and `DROP`.
_COOKIE: Final = 2
_REFERER: Final = 3
_AUTHORIZATION: Final = 4


class Credentials:
    """The names under which a token may come; it is removed from all of them."""

    def __init__(self, auth: Auth) -> None:
        self.query = auth.query
        self.cookie = auth.cookie
        claims = [name.lower().replace("_", "-").encode() for _, name in auth.forward_claims]
        self._claim_headers = frozenset(claims)
        self._rules = RuleCache(self._rule)

    def strip(
        self, headers: Iterable[tuple[bytes, bytes]], *, is_authenticated: bool
    ) -> list[tuple[bytes, bytes]]:
        """Returns request headers without the token and without headers that clients may not set.

        The Authorization header is forwarded only from a route that needs no token.
        """
        kept = []
        for pair in headers:
            rule = self._rules.of(pair[0])
            if rule == KEEP:
                kept.append(pair)
            elif rule == _COOKIE and self.cookie is not None:
                if value := without_cookie(pair[1], self.cookie):
                    kept.append((pair[0], value))
            elif rule == _REFERER and self.query is not None:
                kept.append((pair[0], without_token(pair[1], self.query)))
            elif rule == _AUTHORIZATION and not (is_authenticated and _is_bearer(pair[1])):
                kept.append(pair)
        return kept

    def strip_target(self, target: bytes) -> bytes:
        """Returns a request target without the token."""
        return target if self.query is None else without_token(target, self.query)

    def _rule(self, name: bytes) -> int:
        """Returns what happens to a header of this name.

        Services behind CGI or WSGI read `X_User_Id` and `X-User-Id` as one name: both are dropped.
        """
        key = name.lower()
        if key.replace(b"_", b"-") in self._claim_headers:
            return DROP
        if key == b"cookie" and self.cookie is not None:
            return _COOKIE
        if key == b"referer" and self.query is not None:
            return _REFERER
        return _AUTHORIZATION if key == b"authorization" else KEEP


def _is_bearer(authorization: bytes) -> bool:
    return authorization.lower().startswith(b"bearer")


def without_parameter(query: bytes, name: str) -> bytes:
    """Returns a query without the pairs of that name; the rest stays byte for byte."""
    wanted = name.encode()
    return b"&".join(pair for pair in query.split(b"&") if _parameter_name(pair) != wanted)


def without_cookie(value: bytes, name: str) -> bytes:
    """Returns a Cookie value without the cookies of that name; the rest stays byte for byte."""
    wanted = name.encode()
    pairs = value.split(b";")
    kept = [pair for pair in pairs if pair.partition(b"=")[0].strip() != wanted]
    return value if kept == pairs else b";".join(kept).lstrip()


def without_token(target: bytes, name: str) -> bytes:
    """Returns a request target or URL without its token pairs; without a query, without its `?`."""
    path, mark, query = target.partition(b"?")
    if not mark:
        return target
    query, hash_mark, fragment = query.partition(b"#")
    kept = without_parameter(query, name)
    if kept == query:
        return target
    return path + (b"?" + kept if kept else b"") + hash_mark + fragment
