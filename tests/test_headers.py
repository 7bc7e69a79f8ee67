"""Headers, queries and cookies at the edge: what must go is gone, what stays keeps its bytes."""

from collections.abc import Sequence
from ipaddress import ip_network
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.config import Auth, HeaderRules
from gateway.credentials import find_token
from gateway.errors import TOKEN_MISSING, Refusal
from gateway.headers import (
    HOP_BY_HOP,
    Credentials,
    Edits,
    Networks,
    accepts_event_stream,
    client_of,
    connection_options,
    end_to_end,
    first,
    for_client,
    for_upstream,
    media_type,
    origin_form,
    serialize,
    trailers,
    values,
    without_cookie,
    without_parameter,
    without_token,
)

Pairs = list[tuple[bytes, bytes]]
TRUSTED: Networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
AUTH = Auth(forward_claims=(("sub", "X-User-Id"),))
CREDENTIALS = Credentials.of(AUTH)


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
header_names = st.sampled_from(
    [b"Accept", b"X-A", b"x-a", b"Cookie", b"Connection", b"TE", b"Host", b"Upgrade", b"Via"]
)
header_lists = st.lists(st.tuples(header_names, st.binary(max_size=8)), max_size=8)


def has_token(auth: Auth, *, query: bytes = b"", cookie: Sequence[bytes] = ()) -> bool:
    """Whether the gateway itself would read a token there, good or bad."""
    try:
        find_token(auth, [], query, cookie)
    except Refusal as refusal:
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


# Requests on their way up


def upward(*received: tuple[bytes, bytes], is_authenticated: bool = True) -> Pairs:
    return for_upstream(received, CREDENTIALS, is_authenticated=is_authenticated)


def test_a_cookie_header_that_held_only_the_token_is_gone() -> None:
    received = [(b"Cookie", b"gateway_token=x"), (b"cookie", b"a=1; gateway_token=y")]
    assert upward(*received) == [(b"cookie", b"a=1")]


def test_a_token_in_the_referer_does_not_go_on() -> None:
    assert upward((b"Referer", b"https://a/p?token=x&b=1")) == [(b"Referer", b"https://a/p?b=1")]


def test_names_that_are_not_looked_at_are_not_taken_out() -> None:
    received = [(b"Cookie", b"gateway_token=x"), (b"Referer", b"https://a/?token=x")]
    nothing = Credentials.of(Auth(query=None, cookie=None))
    assert for_upstream(received, nothing, is_authenticated=True) == received


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
    assert upward((name.encode(), b"root")) == []


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "X-Real-IP",
        "X_Real_Ip",
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-FORWARDED-anything",
        "Host",
        "Content-Length",
        "Content_Length",
        "X-Request-Id",
        "traceparent",
    ],
)
def test_what_the_gateway_says_itself_is_not_passed_on(name: str) -> None:
    assert upward((name.encode(), b"1"), is_authenticated=False) == []


@pytest.mark.parametrize("value", [b"Bearer x", b"bearer x", b"BEARER\tx", b"Bearer"])
def test_bearer_goes_on_only_where_the_gateway_asks_for_none(value: bytes) -> None:
    pair = (b"Authorization", value)
    assert upward(pair) == []
    assert upward(pair, is_authenticated=False) == [pair]


def test_another_scheme_than_bearer_is_the_services_own() -> None:
    pair = (b"Authorization", b"Basic eDp5")
    assert upward(pair) == [pair]


@given(header_lists)
def test_nothing_hop_by_hop_goes_up(received: Pairs) -> None:
    names = {name.lower() for name, _ in upward(*received)}
    assert not names & (HOP_BY_HOP | connection_options(received))


def test_an_event_stream_is_asked_for_uncompressed_once() -> None:
    received = [(b"accept-encoding", b"gzip"), (b"Accept", b"text/event-stream")]
    assert upward(*received, (b"Accept-Encoding", b"br")) == [
        (b"Accept", b"text/event-stream"),
        (b"Accept-Encoding", b"identity"),
    ]


# Hop by hop


@given(header_lists)
def test_what_is_end_to_end_keeps_its_bytes_and_order(received: Pairs) -> None:
    stop = HOP_BY_HOP | connection_options(received)
    assert end_to_end(received) == [pair for pair in received if pair[0].lower() not in stop]


def test_every_connection_header_is_read_in_any_case() -> None:
    received = [
        (b"Connection", b"close, X-One"),
        (b"CONNECTION", b"\tx-TWO ,,"),
        (b"x-one", b"1"),
        (b"X-Two", b"2"),
        (b"X-Three", b"3"),
    ]
    assert end_to_end(received) == [(b"X-Three", b"3")]


def test_a_trailer_cannot_say_what_belongs_into_a_head() -> None:
    received = [(b"Set-Cookie", b"a=1"), (b"Content-Length", b"0"), (b"Server-Timing", b"db;dur=5")]
    assert trailers(received) == [(b"Server-Timing", b"db;dur=5")]


# Responses on their way down


def test_an_event_stream_is_marked_as_not_to_be_buffered_whatever_the_service_says() -> None:
    received = [(b"x-accel-buffering", b"yes"), (b"cache-control", b"private")]
    assert for_client(received, is_event_stream=True) == [
        (b"cache-control", b"private"),
        (b"X-Accel-Buffering", b"no"),
    ]


def test_other_responses_keep_their_own_word_on_buffering() -> None:
    received = [(b"X-Accel-Buffering", b"yes")]
    assert for_client(received, is_event_stream=False) == received


# A route's own rules


def test_a_header_that_is_set_replaces_all_of_its_name() -> None:
    edits = Edits.of(HeaderRules(set=(("X-A", "new"),), remove=("Server",)))
    received = [(b"x-a", b"1"), (b"SERVER", b"s"), (b"X-B", b"2"), (b"X-A", b"3")]
    assert edits.apply(received) == [(b"X-B", b"2"), (b"X-A", b"new")]


@given(header_lists)
def test_no_rules_change_nothing(received: Pairs) -> None:
    assert Edits.of(HeaderRules()).apply(received) == received


# Who the client is


def chain(*forwarded: bytes, peer: str = "10.0.0.1") -> str:
    return client_of([(b"X-Forwarded-For", value) for value in forwarded], peer, TRUSTED).address


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ((), "10.0.0.1"),
        ((b"",), "10.0.0.1"),
        ((b" , ,",), "10.0.0.1"),
        ((b"192.0.2.1",), "192.0.2.1"),
        ((b"198.51.100.9, 192.0.2.1, 10.9.9.9",), "192.0.2.1"),
        ((b"198.51.100.9", b"192.0.2.1", b"10.9.9.9"), "192.0.2.1"),
        ((b"10.2.2.2, 10.3.3.3",), "10.2.2.2"),
        ((b"192.0.2.1, ::ffff:10.3.3.3",), "192.0.2.1"),
        ((b"2001:db8::1, fd00::7",), "2001:db8::1"),
        ((b"198.51.100.9, 192.0.2.1:4711",), "192.0.2.1:4711"),
        ((b"198.51.100.9, 10.3.3.3:4711",), "10.3.3.3:4711"),
        ((b"198.51.100.9, unknown, 10.3.3.3",), "unknown"),
    ],
)
def test_the_client_is_the_nearest_that_no_trusted_proxy_is(
    forwarded: tuple[bytes, ...], address: str
) -> None:
    assert chain(*forwarded) == address


def test_a_peer_by_its_ipv4_mapped_address_is_as_trusted() -> None:
    assert chain(b"192.0.2.1", peer="::ffff:10.0.0.1") == "192.0.2.1"


@given(st.lists(st.binary(max_size=20), max_size=3), st.sampled_from(["192.0.2.7", "", "gone"]))
def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_says(
    forwarded: list[bytes], peer: str
) -> None:
    assert chain(*forwarded, peer=peer) == peer


@given(st.lists(st.binary(max_size=20), max_size=3))
def test_no_garbage_in_a_chain_is_a_fault(forwarded: list[bytes]) -> None:
    client = client_of([(b"X-Forwarded-For", value) for value in forwarded], "10.0.0.1", TRUSTED)
    assert dict(client.forwarded)[b"X-Forwarded-For"].endswith(b"10.0.0.1")


def test_a_trusted_proxy_says_what_the_browser_spoke_and_with_whom() -> None:
    said = [(b"Host", b"inner"), (b"X-Forwarded-Proto", b"HTTPS"), (b"X-Forwarded-Host", b"outer")]
    client = client_of(said, "10.0.0.1", TRUSTED)
    assert (client.scheme, client.host, client.scheme_is_known) == ("https", b"outer", True)
    assert client.forwarded == (
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"outer"),
    )


@pytest.mark.parametrize("said", [[], [(b"X-Forwarded-Proto", b"gopher")]])
def test_a_proxy_that_says_no_scheme_leaves_it_unknown(said: Pairs) -> None:
    client = client_of(said, "10.0.0.1", TRUSTED)
    assert (client.scheme, client.scheme_is_known) == ("http", False)


def test_without_a_host_none_is_forwarded() -> None:
    names = [name for name, _ in client_of([], "192.0.2.7", TRUSTED).forwarded]
    assert names == [b"X-Forwarded-For", b"X-Forwarded-Proto"]


# Small readings


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("/a?b=://c", "/a?b=://c", b"sent"),
        ("http://h/a?b", "/a?b", b"h"),
        ("HTTPS://h:81", "/", b"h:81"),
        ("http://h?b=/", "/?b=/", b"h"),
        ("ftp://h/a", "ftp://h/a", b"sent"),
        ("*", "*", b"sent"),
        ("http://h\udcc3/a", "/a", b"h\xc3"),
    ],
)
def test_a_target_in_absolute_form_names_the_host_itself(
    target: str, path: str, host: bytes
) -> None:
    found, headers = origin_form(target, [(b"host", b"sent"), (b"A", b"1")])
    assert (found, values(headers, b"host")) == (path, [host])
    assert first(headers, b"a") == b"1"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, b""),
        (b"", b""),
        (b"Text/Event-Stream", b"text/event-stream"),
        (b" text/event-stream ; charset=utf-8", b"text/event-stream"),
        (b"text/event-stream-not", b"text/event-stream-not"),
    ],
)
def test_a_media_type_is_read_without_parameters_and_case(value: bytes | None, kind: bytes) -> None:
    assert media_type(value) == kind


@pytest.mark.parametrize(
    ("accept", "is_wanted"),
    [
        ([b"text/event-stream"], True),
        ([b"text/html", b"a/b, TEXT/EVENT-STREAM;q=0.9"], True),
        ([b"*/*"], False),
        ([b"text/*"], False),
        ([b"application/x+text/event-stream"], False),
        ([], False),
    ],
)
def test_an_event_stream_is_accepted_by_its_own_name_alone(
    accept: list[bytes], is_wanted: bool
) -> None:
    assert accepts_event_stream([(b"Accept", value) for value in accept]) is is_wanted


def test_headers_are_serialized_in_their_order() -> None:
    assert serialize([(b"B", b"1"), (b"a", b""), (b"B", b"2")]) == b"B: 1\r\na: \r\nB: 2\r\n"
