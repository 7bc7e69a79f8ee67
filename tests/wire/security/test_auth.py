"""Who may pass, and that a token never goes further than the gateway."""

from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient, Response
from tests.support.tokens import token
from tests.support.upstream import Upstream, never_answers
from tests.wire.conftest import Connect


def bearer(text: str) -> str:
    return f"Authorization: Bearer {text}"


def cookie(text: str) -> str:
    return f"Cookie: gateway_token={text}"


async def assert_refused(client: RawClient, code: str, target: str, *headers: str) -> Response:
    """Fetch; the answer is a 401 with this code. It is returned."""
    got = await client.fetch(target, *headers)
    assert (got.status, got.json()["code"]) == (401, code)
    assert (got.value("WWW-Authenticate") or "").startswith("Bearer")
    assert got.value("Content-Type") == "application/problem+json"
    return got


@pytest.mark.parametrize("way", ["query", "cookie", "bearer"])
async def test_a_valid_token_passes_and_is_gone(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, way: str
) -> None:
    secret = token(sub="grace")
    target = f"/private/x?token={secret}" if way == "query" else "/private/x"
    headers = {"query": [], "cookie": [cookie(secret)], "bearer": [bearer(secret)]}[way]
    got = await client.fetch(target, *headers, f"X-Request-Id: gone-{way}")
    assert got.status == 200
    assert upstream.request.target == "/private/x"
    assert secret.encode() not in got.body
    assert not {"authorization", "cookie"} & upstream.request.names()
    assert upstream.request.value("X-User-Id") == "grace"
    line = await gateway.request_line(request_id=f"gone-{way}")
    assert (line["subject"], line["path"]) == ("grace", "/private/x")
    assert secret not in gateway.output


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/private/x?token=T", "/private/x"),
        ("/private/x?a=1&token=T", "/private/x?a=1"),
        ("/private/x?token=T&a=1", "/private/x?a=1"),
        ("/private/x?a=1&token=T&b=2", "/private/x?a=1&b=2"),
        (
            "/private/a%2Fb//c%27d'+e~f?b=%2F%27&a=1&a=&a&&token=T&c=+x%20y&=&d=a=b?/",
            "/private/a%2Fb//c%27d'+e~f?b=%2F%27&a=1&a=&a&&c=+x%20y&=&d=a=b?/",
        ),
        ("/private/%7Euser/%c3%a9/?q=%E2%9C%93&token=T", "/private/%7Euser/%c3%a9/?q=%E2%9C%93"),
        ("/private/x?mytoken=1&token=T&token2=2", "/private/x?mytoken=1&token2=2"),
    ],
)
async def test_only_the_token_leaves_the_query(
    upstream: Upstream, client: RawClient, before: str, after: str
) -> None:
    assert (await client.fetch(before.replace("=T", f"={token()}"))).status == 200
    assert upstream.request.target == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("gateway_token=T; a=1", "a=1"),
        ("a=1; gateway_token=T; b=2", "a=1; b=2"),
        ('a="x y"; gateway_token=T; a=1; =; b', 'a="x y"; a=1; =; b'),
        ("not_gateway_token=1; gateway_token=T", "not_gateway_token=1"),
    ],
)
async def test_only_the_token_leaves_the_cookies(
    upstream: Upstream, client: RawClient, before: str, after: str
) -> None:
    sent = before.replace("=T", f"={token()}")
    assert (await client.fetch("/private/x", f"Cookie: {sent}")).status == 200
    assert upstream.request.value("Cookie") == after


async def test_a_token_never_reaches_the_upstream_by_any_header(
    upstream: Upstream, client: RawClient
) -> None:
    secret = token()
    signature = secret.rsplit(".", 1)[1].encode()
    await client.fetch(
        f"/private/x?token={secret}",
        bearer(secret),
        cookie(secret),
        f"Referer: http://gateway.test/page?a=1&token={secret}",
    )
    for name, value in upstream.request.headers:
        assert signature not in value, name
    assert signature.decode() not in upstream.request.target


async def test_two_tokens_in_a_query_do_not_pass_one_on(
    upstream: Upstream, client: RawClient
) -> None:
    good, bad = token(), "a.bad.token"
    await client.fetch(f"/private/x?token={good}&token={bad}")
    await client.fetch(f"/private/x?token={good}&token={good}")
    for request in upstream.requests:
        assert request.target == "/private/x"


async def test_an_escaped_parameter_name_does_not_carry_the_token_on(
    upstream: Upstream, client: RawClient
) -> None:
    secret = token()
    got = await client.fetch(f"/private/x?%74oken={secret}", bearer(secret))
    assert got.status == 200
    assert secret not in upstream.request.target


async def test_a_token_is_missing(upstream: Upstream, client: RawClient) -> None:
    await assert_refused(client, "token_missing", "/private/x")
    assert upstream.requests == []


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        "a.b.c",
        token() + "x",
        token().replace(".", "", 1),
        token(exp=None),
        token(exp="soon"),
        token(nbf=4102444800),
        token().rsplit(".", 1)[0] + ".",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiZXhwIjo0MTAyNDQ0ODAwfQ.",
        token(padding="x" * 8192),
    ],
    ids=lambda bad: f"{len(bad)}-bytes",
)
@pytest.mark.parametrize("way", ["query", "cookie", "bearer"])
async def test_a_bad_token_is_refused_and_not_repeated(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, bad: str, way: str
) -> None:
    target = f"/private/x?token={bad}" if way == "query" else "/private/x"
    headers = {"query": [], "cookie": [cookie(bad)], "bearer": [bearer(bad)]}[way]
    got = await assert_refused(client, "token_invalid", target, *headers)
    assert bad.encode() not in got.body
    assert upstream.requests == []
    line = await gateway.request_line(request_id=got.json()["request_id"])
    assert (line["status"], line["end_reason"]) == (401, "refused")
    assert bad not in str(line)


async def test_an_expired_token_is_reported_as_expired(
    upstream: Upstream, client: RawClient
) -> None:
    await assert_refused(client, "token_expired", "/private/x", bearer(token(ttl=-60)))


async def test_a_clock_that_is_a_little_off_is_forgiven(
    upstream: Upstream, client: RawClient
) -> None:
    assert (await client.fetch("/private/x", bearer(token(ttl=-3)))).status == 200


async def test_the_first_token_found_decides(upstream: Upstream, client: RawClient) -> None:
    good, bad = token(), "a.bad.token"
    await assert_refused(client, "token_invalid", f"/private/x?token={good}", bearer(bad))
    await assert_refused(client, "token_invalid", f"/private/x?token={bad}", cookie(good))
    assert (await client.fetch(f"/private/x?token={bad}", bearer(good))).status == 200
    assert (await client.fetch(f"/private/x?token={good}", cookie(bad))).status == 200
    for request in upstream.requests:
        assert bad not in request.target
        assert request.value("Cookie") is None


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "jobs:read jobs:write other"},
        {"scopes": ["jobs:write", "jobs:read"]},
        {"scp": ["jobs:read", "jobs:write"]},
    ],
)
async def test_a_token_with_the_scopes_passes(
    upstream: Upstream, client: RawClient, claims: dict[str, Any]
) -> None:
    assert (await client.fetch("/scoped/x", bearer(token(**claims)))).status == 200


@pytest.mark.parametrize(
    "claims", [{}, {"scope": "jobs:read"}, {"scope": "jobs:readjobs:write"}, {"scope": 7}]
)
async def test_a_token_without_the_scopes_is_a_403(
    upstream: Upstream, client: RawClient, claims: dict[str, Any]
) -> None:
    got = await client.fetch("/scoped/x", bearer(token(**claims)))
    assert (got.status, got.json()["code"]) == (403, "scope_missing")
    assert upstream.requests == []


@pytest.mark.parametrize("spoof", ["X-User-Id", "x-user-id", "X_User_Id", "X_USER-ID"])
@pytest.mark.parametrize("target", ["/private/x", "/open/x"])
async def test_nobody_can_say_to_be_somebody_else(
    upstream: Upstream, client: RawClient, spoof: str, target: str
) -> None:
    await client.fetch(target, f"{spoof}: root", f"{spoof}: root", bearer(token(sub="eve")))
    assert "root" not in [value.decode() for _, value in upstream.request.headers]


async def test_a_claim_cannot_add_a_header(upstream: Upstream, client: RawClient) -> None:
    got = await client.fetch("/private/x", bearer(token(sub="eve\r\nX-Admin: 1")))
    assert got.status in (200, 401)
    for request in upstream.requests:
        assert "x-admin" not in request.names()


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://gateway.test.evil"])
async def test_another_sites_page_may_not_use_the_cookie(
    upstream: Upstream, client: RawClient, origin: str
) -> None:
    got = await client.fetch("/private/x", cookie(token()), f"Origin: {origin}")
    assert (got.status, got.json()["code"]) == (403, "origin_denied")
    assert upstream.requests == []


async def test_the_same_sites_page_may_use_the_cookie(
    upstream: Upstream, client: RawClient
) -> None:
    got = await client.fetch("/private/x", cookie(token()), "Origin: http://gateway.test")
    assert got.status == 200


async def test_a_token_in_the_query_is_not_bound_to_an_origin(
    upstream: Upstream, client: RawClient
) -> None:
    got = await client.fetch(f"/private/x?token={token()}", "Origin: https://elsewhere.test")
    assert got.status == 200


async def test_no_referrer_has_the_token(upstream: Upstream, client: RawClient) -> None:
    got = await client.fetch(f"/private/x?token={token()}")
    assert got.value("Referrer-Policy") == "no-referrer"


async def test_a_token_of_a_browser_that_left_is_not_logged(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    secret = token()
    upstream.script = never_answers
    client = await connect()
    await client.request(f"/private/x?token={secret}", "X-Request-Id: left-with-token")
    await upstream.exchange()
    client.close()
    await gateway.request_line(request_id="left-with-token")
    assert secret not in gateway.output


async def test_a_long_token_passes_in_the_query(upstream: Upstream, client: RawClient) -> None:
    got = await client.fetch(f"/private/x?token={token(padding='x' * 5500)}&a=1")
    assert got.status == 200
    assert upstream.request.target == "/private/x?a=1"
