"""Which origins may call, and the headers of the responses to them."""

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.auth.cors import CorsPolicy
from gateway.config.model import Cors

Pairs = list[tuple[bytes, bytes]]

APP = b"https://app.example.com"
LISTED = CorsPolicy(Cors((APP.decode(), "http://localhost:3000"), credentials=True))
WILD = CorsPolicy(Cors(("https://*.example.com", "http://*.dev.test:8080")))
OPEN = CorsPolicy(Cors(("*",)))

labels = st.text(string.ascii_lowercase + string.digits + "-_", min_size=1, max_size=8)


def reported(policy: CorsPolicy, origin: bytes | None, *received: tuple[bytes, bytes]) -> Pairs:
    return policy.access(origin).apply(list(received))


def granted(policy: CorsPolicy, origin: bytes | None) -> bytes | None:
    return dict(reported(policy, origin)).get(b"Access-Control-Allow-Origin")


@pytest.mark.parametrize(
    "origin",
    [
        b"http://app.example.com",
        b"https://app.example.com:8443",
        b"https://app.example.com.evil.test",
        b"https://evil-app.example.com",
        b"https://example.com",
        b"https://app.example.com/",
        b"https://app.example.comx",
        b"HTTPS://app.example.com",
        b"null",
        b"",
        b"*",
        b"http://localhost",
        b"http://localhost:30000",
        b"https://app.example.com https://evil.test",
    ],
)
def test_an_origin_that_differs_in_anything_is_foreign(origin: bytes) -> None:
    assert not LISTED.allows(origin)
    assert not LISTED.allows_cookie(origin)
    assert granted(LISTED, origin) is None


@pytest.mark.parametrize("origin", [APP, b"http://localhost:3000"])
def test_a_listed_origin_is_sent_back(origin: bytes) -> None:
    assert LISTED.allows(origin)
    assert reported(LISTED, origin) == [
        (b"Vary", b"Origin"),
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Expose-Headers", b"Retry-After, X-Request-Id"),
    ]


@given(st.lists(labels, min_size=1, max_size=4))
def test_a_wildcard_stands_for_one_label_or_more(names: list[str]) -> None:
    name = ".".join(names).encode()
    assert granted(WILD, b"https://%b.example.com" % name) == b"https://%b.example.com" % name
    assert WILD.allows(b"http://%b.dev.test:8080" % name)
    assert not WILD.allows(b"http://%b.example.com" % name)
    assert not WILD.allows(b"https://%b.example.com:8080" % name)
    assert not WILD.allows(b"http://%b.dev.test" % name)
    assert not WILD.allows(b"https://%b.example.com.test" % name)


@pytest.mark.parametrize(
    "origin",
    [
        b"https://example.com",
        b"https://.example.com",
        b"https://*.example.com",
        b"https://a..example.com",
        b"https://evilexample.com",
        b"https://evil.test/.example.com",
        b"https://evil.test:80.example.com",
        b"https://evil.test#.example.com",
        b"https://user@a.example.com",
        b"https://A.example.com",
        b"https://a.example.com\n",
    ],
)
def test_a_wildcard_stands_for_nothing_else(origin: bytes) -> None:
    assert not WILD.allows(origin)
    assert granted(WILD, origin) is None


@given(st.binary(max_size=30))
@example(b"https://a\r\nX: .example.com")
def test_what_is_sent_back_is_an_origin_that_may_call(origin: bytes) -> None:
    for start, end in ((b"", b""), (b"https://", b".example.com"), (b"http://", b".dev.test:8080")):
        asked = start + origin + end
        echoed = granted(WILD, asked)
        assert (echoed == asked) == WILD.allows(asked)
        assert echoed is None or re.fullmatch(rb"https?://[a-z0-9_.-]+(:8080)?", echoed)


@pytest.mark.parametrize("origin", [APP, b"null", None])
def test_where_every_origin_may_call_no_response_depends_on_it(origin: bytes | None) -> None:
    assert reported(OPEN, origin) == [
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Access-Control-Expose-Headers", b"Retry-After, X-Request-Id"),
    ]
    assert not OPEN.allows_cookie(b"https://app.example.com")


def test_an_origin_is_trusted_with_the_cookie_only_where_credentials_go() -> None:
    assert LISTED.allows_cookie(APP)
    assert WILD.allows(b"https://a.example.com")
    assert not WILD.allows_cookie(b"https://a.example.com")


@pytest.mark.parametrize("origin", [None, b"https://evil.test"])
def test_a_cache_learns_that_another_origin_gets_another_answer(origin: bytes | None) -> None:
    assert reported(LISTED, origin) == [(b"Vary", b"Origin")]


def test_the_services_own_word_on_it_is_replaced() -> None:
    own = [
        (b"access-control-allow-origin", b"*"),
        (b"Access-Control-Allow-Methods", b"GET"),
        (b"X-Other", b"1"),
    ]
    assert reported(LISTED, b"https://evil.test", *own) == [
        (b"X-Other", b"1"),
        (b"Vary", b"Origin"),
    ]
    assert [name for name, _ in reported(LISTED, APP, *own)].count(
        b"Access-Control-Allow-Origin"
    ) == 1


@pytest.mark.parametrize(
    ("own", "added"),
    [
        ([b"Accept-Encoding"], True),
        ([b"Accept-Encoding, ORIGIN"], False),
        ([b"Accept-Encoding", b"origin"], False),
        ([b"*"], False),
        ([b"X-Origin"], True),
    ],
)
def test_vary_is_added_to_and_never_doubled(own: list[bytes], added: bool) -> None:
    received = [(b"vary", value) for value in own]
    assert reported(LISTED, None, *received) == [*received, *[(b"Vary", b"Origin")] * added]


def test_a_preflight_gets_the_routes_methods_and_the_headers_it_asked_for() -> None:
    assert LISTED.preflight(b"GET, HEAD", b"authorization, x-a") == [
        (b"Access-Control-Allow-Methods", b"GET, HEAD"),
        (b"Access-Control-Max-Age", b"600"),
        (b"Vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"Access-Control-Allow-Headers", b"authorization, x-a"),
    ]


def test_a_preflight_that_asks_for_no_header_gets_none() -> None:
    names = [name for name, _ in LISTED.preflight(b"PUT", b"")]
    assert b"Access-Control-Allow-Headers" not in names


def test_a_preflight_gets_the_sections_methods_and_headers_where_it_has_them() -> None:
    cors = Cors(("*",), methods=("GET", "PUT"), headers=("X-A", "X-B"), expose=(), max_age=0.5)
    answer = dict(CorsPolicy(cors).preflight(b"DELETE", b"x-c"))
    assert answer[b"Access-Control-Allow-Methods"] == b"GET, PUT"
    assert answer[b"Access-Control-Allow-Headers"] == b"X-A, X-B"
    assert answer[b"Access-Control-Max-Age"] == b"0"
    assert reported(CorsPolicy(cors), APP) == [(b"Access-Control-Allow-Origin", b"*")]
