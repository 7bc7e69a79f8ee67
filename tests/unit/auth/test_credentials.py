"""Tokens in a request: what the gateway would read as one is gone, and nothing else."""

from collections.abc import Sequence
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.auth.credentials import (
    Credentials,
    find_token,
    without_cookie,
    without_parameter,
    without_token,
)
from gateway.config.model import Auth
from gateway.http.errors import TOKEN_MISSING, Rejection

Pairs = list[tuple[bytes, bytes]]
AUTH = Auth(forward_claims=(("sub", "X-User-Id"),))
CREDENTIALS = Credentials(AUTH)


def spelt(name: bytes) -> st.SearchStrategy[bytes]:
    """A name with any of its bytes percent-encoded."""
    choices = [
        st.sampled_from([bytes([byte]), b"%%%02x" % byte, b"%%%02X" % byte]) for byte in name
    ]
    return st.tuples(*choices).map(b"".join)


# Near misses are likelier to find a difference than noise is.
query_piece = st.one_of(
    spelt(b"token"),
    st.sampled_from([b"=", b"&", b"+", b"%", b"?", b";", b"TOKEN", b"tokens", b"%00", b"a=1"]),
    st.binary(max_size=4),
)
queries = st.lists(query_piece, max_size=12).map(b"".join)
cookie_piece = st.one_of(
    st.sampled_from([b"gateway_token", b"=", b";", b" ", b"\t", b'"', b"; ", b"a=1", b"token"]),
    st.binary(max_size=4),
)
cookies = st.lists(cookie_piece, max_size=12).map(b"".join)


def has_token(auth: Auth, *, query: bytes = b"", cookie: Sequence[bytes] = ()) -> bool:
    """Whether the gateway itself would read a token there, good or bad."""
    try:
        find_token(auth, [], query, cookie)
    except Rejection as refusal:
        return refusal.failure is not TOKEN_MISSING
    return True


def is_subsequence(kept: list[bytes], whole: list[bytes]) -> bool:
    rest = iter(whole)
    return all(pair in rest for pair in kept)


# Tokens in a query


@given(queries)
@example(b"to%6Ben=x")
@example(b"token")
@example(b"=token&token=")
def test_no_token_that_the_gateway_would_read_stays_in_a_query(query: bytes) -> None:
    assert not has_token(AUTH, query=without_parameter(query, "token"))


@given(queries)
def test_what_stays_of_a_query_keeps_its_bytes_and_order(query: bytes) -> None:
    kept = without_parameter(query, "token").split(b"&")
    assert kept == [b""] or is_subsequence(kept, query.split(b"&"))


@given(queries)
def test_a_query_without_a_token_stays_as_it_is(query: bytes) -> None:
    assume(not has_token(AUTH, query=query))
    assert without_parameter(query, "token") == query


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.binary())
def test_a_parameter_of_any_name_is_found_in_its_encoded_form(name: str, value: bytes) -> None:
    pair = f"{quote_from_bytes(name.encode())}={quote_from_bytes(value)}".encode()
    assert without_parameter(b"%b&last=1" % pair, name) == b"last=1"


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (b"/p?token=x", b"/p"),
        (b"/p?token=x&", b"/p"),
        (b"/p?token=x&&", b"/p?&"),
        (b"/p?&token=x", b"/p"),
        (b"/p?", b"/p?"),
        (b"/p", b"/p"),
        (b"/token=x", b"/token=x"),
        (b"/p?a=%2F+%27&token=x&b=&b&a=?", b"/p?a=%2F+%27&b=&b&a=?"),
        (b"https://a/p?token=x#part", b"https://a/p#part"),
        (b"https://a/p?a=1#token=x", b"https://a/p?a=1#token=x"),
    ],
)
def test_a_target_loses_its_token_and_nothing_else(target: bytes, kept: bytes) -> None:
    assert without_token(target, "token") == kept


# Tokens in cookies


@given(st.lists(cookies, max_size=3))
@example([b"a=1", b" gateway_token = x"])
@example([b'gateway_token="x"'])
def test_no_token_that_the_gateway_would_read_stays_in_the_cookies(received: list[bytes]) -> None:
    assert not has_token(
        AUTH, cookie=[without_cookie(value, "gateway_token") for value in received]
    )


@given(cookies)
def test_what_stays_of_the_cookies_keeps_its_bytes_and_order(value: bytes) -> None:
    kept = [pair.strip() for pair in without_cookie(value, "gateway_token").split(b";")]
    assert kept == [b""] or is_subsequence(kept, [pair.strip() for pair in value.split(b";")])


@given(cookies)
def test_cookies_without_the_tokens_name_stay_as_they_are(value: bytes) -> None:
    assume(b"gateway_token" not in value)
    assert without_cookie(value, "gateway_token") == value


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"gateway_token=x", b""),
        (b"gateway_token=x; a=1", b"a=1"),
        (b"a=1; gateway_token=x; b=2", b"a=1; b=2"),
        (b"a=1;gateway_token=x;b=2", b"a=1;b=2"),
        (b"a=1; gateway_token=x", b"a=1"),
        (b"my_gateway_token=1; Gateway_Token=2", b"my_gateway_token=1; Gateway_Token=2"),
        (b" a=1;; b=gateway_token=3 ", b" a=1;; b=gateway_token=3 "),
    ],
)
def test_cookies_lose_the_token_and_nothing_else(value: bytes, kept: bytes) -> None:
    assert without_cookie(value, "gateway_token") == kept


# Tokens in headers


def stripped(*received: tuple[bytes, bytes], is_authenticated: bool = True) -> Pairs:
    return CREDENTIALS.strip(received, is_authenticated=is_authenticated)


def test_a_cookie_header_that_held_only_the_token_is_gone() -> None:
    received = [(b"Cookie", b"gateway_token=x"), (b"cookie", b"a=1; gateway_token=y")]
    assert stripped(*received) == [(b"cookie", b"a=1")]


def test_a_token_in_the_referer_does_not_go_on() -> None:
    assert stripped((b"Referer", b"https://a/p?token=x&b=1")) == [(b"Referer", b"https://a/p?b=1")]


def test_names_that_are_not_looked_at_are_not_taken_out() -> None:
    received = [(b"Cookie", b"gateway_token=x"), (b"Referer", b"https://a/?token=x")]
    nothing = Credentials(Auth(query=None, cookie=None))
    assert nothing.strip(received, is_authenticated=True) == received


@given(
    spelling=st.tuples(
        *[st.sampled_from([letter.lower(), letter.upper()]) for letter in "x-user-id"]
    ),
    underscores=st.tuples(st.booleans(), st.booleans()),
)
def test_a_client_cannot_say_who_it_is_in_any_spelling(
    spelling: tuple[str, ...], underscores: tuple[bool, bool]
) -> None:
    parts = "".join(spelling).split("-")
    dashes = ["_" if is_underscore else "-" for is_underscore in underscores]
    name = parts[0] + dashes[0] + parts[1] + dashes[1] + parts[2]
    assert stripped((name.encode(), b"root")) == []


@pytest.mark.parametrize("value", [b"Bearer x", b"bearer x", b"BEARER\tx", b"Bearer"])
def test_bearer_goes_on_only_where_the_gateway_asks_for_none(value: bytes) -> None:
    pair = (b"Authorization", value)
    assert stripped(pair) == []
    assert stripped(pair, is_authenticated=False) == [pair]


def test_another_scheme_than_bearer_is_the_services_own() -> None:
    pair = (b"Authorization", b"Basic eDp5")
    assert stripped(pair) == [pair]
