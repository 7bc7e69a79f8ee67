"""A cookie serves pages of the gateway's own origin alone."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.auth.cors import CorsPolicy
from gateway.auth.same_origin import require_same_origin
from gateway.config.model import Cors
from gateway.http.errors import ORIGIN_DENIED, Rejection
from gateway.http.forwarded import Client

HEADERS = {
    "origin": b"Origin",
    "fetch_site": b"Sec-Fetch-Site",
    "fetch_mode": b"Sec-Fetch-Mode",
}


def check_origin(**request: Any) -> None:
    """Check a request to https://app.example, or what else `request` makes of it."""
    headers = [(name, request[key]) for key, name in HEADERS.items() if key in request]
    client = Client(
        address="192.0.2.1",
        scheme=request.get("scheme", "https"),
        host=request.get("host", b"app.example"),
        forwarded=(),
        scheme_is_known=request.get("scheme_is_known", True),
    )
    require_same_origin(headers, client, request.get("policy"))


def is_denied(**request: Any) -> bool:
    try:
        check_origin(**request)
    except Rejection as found:
        return found.failure is ORIGIN_DENIED
    return False


@pytest.mark.parametrize(
    "request_",
    [
        {"origin": b"https://app.example"},
        {"origin": b"HTTPS://App.Example:443"},
        {"origin": b"https://app.example", "host": b"APP.example:443"},
        {"origin": b"http://app.example", "scheme": "http", "host": b"app.example:80"},
        {"origin": b"http://localhost:8080", "scheme": "http", "host": b"localhost:8080"},
        {"origin": b"https://[::1]:8443", "host": b"[::1]:8443"},
        {"origin": b"https://app.example", "scheme": "http", "scheme_is_known": False},
        {
            "origin": b"https://app.example",
            "scheme": "http",
            "host": b"app.example:443",
            "scheme_is_known": False,
        },
        {},
        {"fetch_site": b"same-origin", "fetch_mode": b"no-cors"},
        {"fetch_site": b"same-site", "fetch_mode": b"no-cors"},
        {"fetch_site": b"none", "fetch_mode": b"navigate"},
        {"fetch_site": b"cross-site", "fetch_mode": b"navigate"},
    ],
)
def test_a_request_of_the_own_origin_may_use_the_cookie(request_: dict[str, Any]) -> None:
    check_origin(**request_)


@pytest.mark.parametrize(
    "request_",
    [
        {"origin": b"https://evil.example"},
        {"origin": b"https://app.example.evil.example"},
        {"origin": b"https://sub.app.example"},
        {"origin": b"http://app.example"},
        {"origin": b"https://app.example:8443"},
        {"origin": b"https://app.example:8443", "scheme": "http", "scheme_is_known": False},
        {"origin": b"https://app.example", "host": b"app.example:80", "scheme_is_known": False},
        {"origin": b"null"},
        {"origin": b""},
        {"origin": b"app.example"},
        {"origin": b"https://app.example/"},
        {"origin": b"https://app.example\n"},
        {"origin": b"https://u@app.example"},
        {"origin": b"https://app.example https://evil.example"},
        {"origin": b"https://app.example:"},
        {"origin": b"https://app.example:999999"},
        {"origin": b"chrome-extension://app.example"},
        {"origin": b"https://\xff"},
        {"origin": b"https://app.example", "host": b""},
        {"origin": b"https://app.example", "host": b"app.example,evil.example"},
        {"fetch_site": b"cross-site", "fetch_mode": b"no-cors"},
    ],
)
def test_a_page_of_another_origin_may_not_use_the_cookie(request_: dict[str, Any]) -> None:
    with pytest.raises(Rejection) as caught:
        check_origin(**request_)
    assert caught.value.failure is ORIGIN_DENIED
    assert "Bearer" in caught.value.detail


AUTHORITIES = st.lists(
    st.binary(max_size=2) | st.sampled_from([b"a", b".", b":", b"443", b"80", b"@", b"[::1]"]),
    max_size=4,
).map(b"".join)


@given(AUTHORITIES, AUTHORITIES, st.booleans())
@example(b"a", b"A:443", True)
def test_arbitrary_origins_are_compared_or_denied(origin: bytes, host: bytes, known: bool) -> None:
    request = {"origin": b"https://" + origin, "host": host, "scheme_is_known": known}
    if not is_denied(**request):
        assert origin.lower().removesuffix(b":443") == host.lower().removesuffix(b":443")


PARTNER = b"https://partner.example"


@pytest.mark.parametrize(
    ("cors", "denied"),
    [
        (Cors((PARTNER.decode(),), credentials=True), False),
        (Cors(("https://*.example",), credentials=True), False),
        (Cors((PARTNER.decode(),)), True),
        (Cors(("*",)), True),
        (Cors(("https://other.example",), credentials=True), True),
    ],
)
def test_a_listed_origin_may_use_the_cookie_where_credentials_go(cors: Cors, denied: bool) -> None:
    assert is_denied(origin=PARTNER, policy=CorsPolicy(cors)) is denied
    assert not is_denied(origin=b"https://app.example", policy=CorsPolicy(cors))


def test_a_policy_opens_nothing_to_what_has_no_origin() -> None:
    policy = CorsPolicy(Cors((PARTNER.decode(),), credentials=True))
    assert is_denied(fetch_site=b"cross-site", fetch_mode=b"no-cors", policy=policy)
