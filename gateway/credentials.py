"""Where a token may stand in a request: finding it there, and taking it out.

What is found and what is taken out is the same thing, read in the same way.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from gateway.config import MAX_TOKEN, Auth
from gateway.errors import TOKEN_INVALID, TOKEN_MISSING, Refusal


class TokenSource(StrEnum):
    """Where in the request the token was."""

    AUTHORIZATION = "authorization"
    QUERY = "query"
    COOKIE = "cookie"


def find_token(
    auth: Auth, authorization: Sequence[bytes], query: bytes, cookies: Sequence[bytes]
) -> tuple[bytes, TokenSource]:
    """Give the first token present, in the order of `TokenSource`, and where it was.

    `authorization` and `cookies` are header values as received; `query` is percent-encoded,
    without its question mark. Raises Refusal: TOKEN_MISSING, or TOKEN_INVALID for one that is
    empty, too large, or there twice.
    """
    if auth.bearer and (tokens := list(_bearer_tokens(authorization))):
        return _single(tokens), TokenSource.AUTHORIZATION
    if auth.query is not None and (tokens := list(_query_values(query, auth.query.encode()))):
        return _single(tokens), TokenSource.QUERY
    if auth.cookie is not None and (tokens := list(_cookie_values(cookies, auth.cookie.encode()))):
        return _single(tokens), TokenSource.COOKIE
    raise Refusal(TOKEN_MISSING, f"This route needs a token: send it {_places(auth)}.")


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
