"""A token for a URL: got with a cookie or a header, good for one stream, on one replica or more."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess, environment, run_gateway
from tests.support.key_issuer import Key, KeyIssuer, key_set
from tests.support.raw_client import Ending, RawClient, Response
from tests.support.redis_process import RedisProcess
from tests.support.routes import Places, listener, port_of
from tests.support.tokens import token
from tests.support.upstream import (
    EVENT_STREAM,
    Exchange,
    Upstream,
    answers,
    chunk,
    never_answers,
)
from tests.wire.conftest import Connect, StartGateway

ENDPOINT = "/auth/stream-token"
STREAM = "/jobs/7/stream"
ROUTES = """\
cors:
  origins: https://app.example
  credentials: true
auth:
  token_endpoint: /auth/stream-token
  forward_claims: {sub: X-User-Id, email: X-Email}
routes:
- path: /jobs/{id}/stream
  proxy_upstream: $SERVICE
  scopes: jobs:read
- path: /partner
  proxy_upstream: $SERVICE
  cors: {origins: "https://partner.example", credentials: true}
- path: /no-credentials
  proxy_upstream: $SERVICE
  cors: {origins: "https://app.example"}
- path: /dead
  proxy_upstream: $DEAD
- path: /retried
  proxy_upstream: $SERVICE
  stream: {transient_errors: retry}
- path: /slow
  proxy_upstream: $SERVICE
  first_byte_timeout: 300ms
"""
SHARED = ROUTES + "limits:\n  redis: $REDIS_URL\n"


def login(**claims: Any) -> str:
    return token(**{"sub": "grace", "scope": "jobs:read", "email": "g@example", **claims})


async def ask(client: RawClient, *headers: str, path: str = STREAM) -> Response:
    body = b'{"path": "%b"}' % path.encode()
    headers = headers or (f"Authorization: Bearer {login()}",)
    return await client.fetch(ENDPOINT, *headers, method="POST", body=body)


async def stream_token(client: RawClient, path: str = STREAM) -> str:
    got = await ask(client, path=path)
    assert got.status == 200, got.body
    return str(got.json()["token"])


async def outcome(client: RawClient, secret: str, path: str = STREAM) -> tuple[int, str]:
    """The status of a request with this token, and the code of a refusal."""
    got = await client.fetch(f"{path}?token={secret}")
    return got.status, got.json()["code"] if got.status != 200 else ""


USED = (401, "token_invalid")
UNKNOWN = (503, "token_store_unavailable")
PASSED = (200, "")


@pytest.fixture(scope="module")
def dead() -> str:
    """The URL of a port where nobody listens."""
    with listener() as taken:
        return f"http://127.0.0.1:{port_of(taken)}"


@pytest.fixture(scope="module")
def alone(
    places: Places, dead: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway that shares its used tokens with nobody. No token of any kind is in its log."""
    env = environment(SERVICE=f"http://127.0.0.1:{port_of(places.service)}", DEAD=dead)
    gateway = GatewayProcess.serve(ROUTES, tmp_path_factory.mktemp("alone"), env=env)
    yield gateway
    assert gateway.stop() == 0
    assert gateway.error_output == ""
    assert "eyJ" not in gateway.output


@pytest.fixture
async def page(alone: GatewayProcess, connect: Connect) -> RawClient:
    return await connect(alone.port)


@pytest.mark.parametrize("way", ["cookie", "bearer"])
async def test_a_browser_gets_a_token_and_opens_one_stream_with_it(
    upstream: Upstream, alone: GatewayProcess, page: RawClient, way: str
) -> None:
    own = "Origin: http://gateway.test"
    got = await ask(
        page,
        *(
            [f"Cookie: gateway_token={login()}", own]
            if way == "cookie"
            else [f"Authorization: Bearer {login()}", "Origin: https://elsewhere.test"]
        ),
    )
    assert (got.status, got.json()["expires_in"]) == (200, 60)
    secret = got.json()["token"]
    seen = await page.fetch(f"{STREAM}?a=1&token={secret}&b=2")
    assert (seen.status, seen.value("Referrer-Policy")) == (200, "no-referrer")
    assert upstream.request.target == f"{STREAM}?a=1&b=2"
    assert upstream.request.value("X-User-Id") == "grace"
    assert upstream.request.value("X-Email") == "g@example"
    again = await page.fetch(f"{STREAM}?token={secret}")
    assert (again.status, again.json()["code"]) == USED
    assert "used before" in again.json()["detail"]
    assert len(upstream.requests) == 1
    line = await alone.request_line(request_id=got.value("X-Request-Id"))
    assert (line["route"], line["method"], line["status"]) == (ENDPOINT, "POST", 200)
    assert (line["subject"], line["end_reason"]) == ("grace", "complete")
    refused = await alone.request_line(request_id=again.value("X-Request-Id"))
    assert (refused["subject"], refused["route"]) == ("grace", "/jobs/{id}/stream")


async def test_of_many_at_once_with_one_token_one_passes(
    upstream: Upstream, alone: GatewayProcess, connect: Connect
) -> None:
    clients = [await connect(alone.port) for _ in range(20)]
    secret = await stream_token(clients[0])
    outcomes = await asyncio.gather(*(outcome(client, secret) for client in clients))
    assert sorted(outcomes) == [PASSED] + [USED] * 19
    assert len(upstream.requests) == 1


async def test_a_token_is_not_used_up_by_what_it_is_not_for(
    upstream: Upstream, page: RawClient
) -> None:
    secret = await stream_token(page)
    for method in ("HEAD", "OPTIONS", "POST"):
        got = await page.fetch(f"{STREAM}?token={secret}", method=method)
        assert got.status == 401
    assert await outcome(page, secret, "/jobs/8/stream") == USED
    assert await outcome(page, secret, "/slow") == USED
    assert upstream.requests == []
    assert await outcome(page, secret, "//jobs/%37/stream") == PASSED


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([], 401, "token_missing"),
        (["Authorization: Bearer nonsense"], 401, "token_invalid"),
        ([f"Authorization: Bearer {login(ttl=-60)}"], 401, "token_expired"),
        ([f"Authorization: Bearer {login(scope='other')}"], 403, "scope_missing"),
        ([f"Cookie: gateway_token={login()}", "Origin: https://evil.test"], 403, "origin_denied"),
        ([f"Cookie: gateway_token={login()}", "Origin: null"], 403, "origin_denied"),
    ],
)
async def test_who_may_not_open_the_stream_gets_no_token(
    page: RawClient, headers: list[str], status: int, code: str
) -> None:
    body = b'{"path": "%b"}' % STREAM.encode()
    got = await page.fetch(ENDPOINT, *headers, method="POST", body=body)
    assert (got.status, got.json()["code"]) == (status, code)


async def test_neither_a_token_in_the_url_nor_a_stream_token_gets_another(
    upstream: Upstream, page: RawClient
) -> None:
    body = b'{"path": "%b"}' % STREAM.encode()
    got = await page.fetch(f"{ENDPOINT}?token={login()}", method="POST", body=body)
    assert (got.status, got.json()["code"]) == (401, "token_missing")
    assert "in the URL" not in got.json()["detail"]
    secret = await stream_token(page)
    got = await ask(page, f"Authorization: Bearer {secret}")
    assert (got.status, got.json()["code"]) == (401, "token_invalid")
    assert await outcome(page, secret) == PASSED, "it was not used up"


async def test_a_login_token_may_be_used_again_and_again(
    upstream: Upstream, page: RawClient
) -> None:
    for _ in range(3):
        assert await outcome(page, login()) == PASSED


# Pages of other origins

APP, PARTNER, EVIL = "https://app.example", "https://partner.example", "https://evil.test"


@pytest.mark.parametrize("origin", [APP, PARTNER])
async def test_a_page_that_some_route_lists_may_ask_before_it_asks(
    page: RawClient, origin: str
) -> None:
    got = await page.fetch(
        ENDPOINT,
        f"Origin: {origin}",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type",
        method="OPTIONS",
    )
    assert got.status == 204
    assert got.value("Access-Control-Allow-Origin") == origin
    assert got.value("Access-Control-Allow-Credentials") == "true"
    assert got.value("Access-Control-Allow-Methods") == "POST"
    assert got.value("Access-Control-Allow-Headers") == "content-type"


async def test_a_page_that_no_route_lists_is_refused_before_it_asks(page: RawClient) -> None:
    asked = "Access-Control-Request-Method: POST"
    got = await page.fetch(ENDPOINT, f"Origin: {EVIL}", asked, method="OPTIONS")
    assert (got.status, got.json()["code"]) == (403, "origin_denied")
    assert got.value("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize(
    ("origin", "path", "is_given"),
    [
        (APP, STREAM, True),
        (PARTNER, "/partner", True),
        (APP, "/partner", False),
        (PARTNER, STREAM, False),
        (APP, "/no-credentials", False),
        (EVIL, STREAM, False),
    ],
)
async def test_a_page_gets_a_token_with_the_cookie_for_routes_that_list_it(
    page: RawClient, origin: str, path: str, is_given: bool
) -> None:
    got = await ask(page, f"Cookie: gateway_token={login()}", f"Origin: {origin}", path=path)
    assert got.status == (200 if is_given else 403)
    assert is_given or got.json()["code"] == "origin_denied"
    readable_by = origin if origin != EVIL else None
    assert got.value("Access-Control-Allow-Origin") == readable_by
    assert "Origin" in (got.value("Vary") or "")


async def test_a_page_elsewhere_gets_a_token_with_a_token_of_its_own(page: RawClient) -> None:
    got = await ask(page, f"Authorization: Bearer {login()}", f"Origin: {PARTNER}")
    assert (got.status, got.value("Access-Control-Allow-Origin")) == (200, PARTNER)


# When no service was there to answer


async def test_a_service_out_of_reach_leaves_the_token_for_another_try(
    page: RawClient, dead: str, upstream: Upstream
) -> None:
    secret = await stream_token(page, "/dead")
    for _ in range(2):
        assert await outcome(page, secret, "/dead") == (502, "upstream_unreachable")
    back = Upstream()
    back.start(socket.create_server(("127.0.0.1", int(dead.rpartition(":")[2]))))
    try:
        assert await outcome(page, secret, "/dead") == PASSED
        assert await outcome(page, secret, "/dead") == USED
    finally:
        await back.stop()


async def test_a_service_too_slow_to_answer_leaves_the_token_for_another_try(
    page: RawClient, upstream: Upstream
) -> None:
    secret = await stream_token(page, "/slow")
    upstream.script = never_answers
    assert await outcome(page, secret, "/slow") == (504, "upstream_timeout")
    upstream.script = answers()
    assert await outcome(page, secret, "/slow") == PASSED
    assert await outcome(page, secret, "/slow") == USED


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Busy", "504 Gateway Timeout"])
async def test_a_service_that_says_try_again_leaves_the_token_for_it(
    page: RawClient, upstream: Upstream, status: str
) -> None:
    secret = await stream_token(page)
    upstream.script = answers(status=status)
    got = await page.fetch(f"{STREAM}?token={secret}")
    assert got.status == int(status[:3])
    upstream.script = answers()
    assert await outcome(page, secret) == PASSED
    assert await outcome(page, secret) == USED


async def test_an_event_source_that_is_asked_to_reconnect_finds_its_token_valid(
    page: RawClient, upstream: Upstream
) -> None:
    secret = await stream_token(page, "/retried")
    upstream.script = answers(status="503 Busy")
    for _ in range(2):
        got = await page.fetch(f"/retried?token={secret}", "Accept: text/event-stream")
        assert (got.status, got.value("Content-Type")) == (200, "text/event-stream")
        assert b"retry: " in got.body
    upstream.script = answers()
    assert await outcome(page, secret, "/retried") == PASSED
    assert await outcome(page, secret, "/retried") == USED


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "404 Not Found", "500 Oops"])
async def test_any_other_answer_uses_the_token_up(
    page: RawClient, upstream: Upstream, status: str
) -> None:
    secret = await stream_token(page)
    upstream.script = answers(status=status)
    assert (await page.fetch(f"{STREAM}?token={secret}")).status == int(status[:3])
    upstream.script = answers()
    assert await outcome(page, secret) == USED


async def test_a_stream_that_broke_off_used_its_token_up(
    alone: GatewayProcess, page: RawClient, connect: Connect, upstream: Upstream
) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        exchange.reset()

    secret = await stream_token(page)
    upstream.script = half
    await page.request(f"{STREAM}?token={secret}")
    await page.head()
    assert (await page.rest()).ending is not Ending.CLEAN
    upstream.script = answers()
    assert await outcome(await connect(alone.port), secret) == USED


async def test_a_request_that_is_malformed_after_its_head_uses_the_token_up(
    alone: GatewayProcess, connect: Connect, upstream: Upstream
) -> None:
    """Else one token could start any number of jobs, each by a request that never ends well."""
    client = await connect(alone.port)
    secret = await stream_token(client)
    upstream.script = never_answers
    await client.request(f"{STREAM}?token={secret}", "Transfer-Encoding: chunked")
    await upstream.exchange()
    await client.send(b"nonsense\r\n")
    assert (await client.head()).status == 400
    upstream.script = answers()
    assert await outcome(await connect(alone.port), secret) == USED


async def test_a_browser_that_left_used_its_token_up(
    alone: GatewayProcess, connect: Connect, upstream: Upstream
) -> None:
    client = await connect(alone.port)
    secret = await stream_token(client)
    upstream.script = never_answers
    await client.request(f"{STREAM}?token={secret}", "X-Request-Id: left")
    await upstream.exchange()
    client.close()
    await alone.request_line(request_id="left")
    upstream.script = answers()
    assert await outcome(await connect(alone.port), secret) == USED


# More than one replica


@pytest.fixture
async def replicas(
    start_gateway: StartGateway, connect: Connect, redis: RedisProcess, dead: str
) -> tuple[RawClient, RawClient, GatewayProcess]:
    """Two gateways that share a Redis: a client of each, and the first of them."""
    one, other = (start_gateway(SHARED, DEAD=dead, REDIS_URL=redis.url) for _ in range(2))
    return await connect(one.port), await connect(other.port), one


Replicas = tuple[RawClient, RawClient, GatewayProcess]


async def test_a_token_of_one_replica_is_used_once_on_any(
    replicas: Replicas, service: Upstream
) -> None:
    here, there, _ = replicas
    secret = await stream_token(here)
    assert await outcome(there, secret) == PASSED
    assert await outcome(here, secret) == USED
    assert await outcome(there, secret) == USED
    assert len(service.requests) == 1


async def test_a_token_that_came_to_nothing_on_one_replica_is_good_on_another(
    replicas: Replicas, service: Upstream
) -> None:
    here, there, _ = replicas
    secret = await stream_token(here, "/dead")
    assert await outcome(here, secret, "/dead") == (502, "upstream_unreachable")
    assert await outcome(there, secret, "/dead") == (502, "upstream_unreachable")


async def test_without_redis_no_stream_token_passes_and_login_tokens_do(
    replicas: Replicas, redis: RedisProcess, service: Upstream
) -> None:
    here, there, gateway = replicas
    before, during = [await stream_token(here) for _ in range(2)]
    assert await outcome(here, before) == PASSED
    redis.kill()
    for _ in range(3):
        assert await outcome(here, during) == UNKNOWN
    assert await outcome(here, login()) == PASSED
    got = await here.fetch(f"{STREAM}?token={during}")
    assert got.value("Retry-After") == "1"
    assert "127.0.0.1" not in got.body.decode()
    line = await gateway.request_line(code="token_store_unavailable")
    assert (line["status"], line["end_reason"], line["error"]) == (
        503,
        "refused",
        "redis: ConnectionError",
    )
    redis.start()
    assert await outcome(here, during) == PASSED
    assert await outcome(there, during) == USED
    assert await outcome(there, before) == USED, "Redis has it on disk"
    assert len(service.requests) == 3


async def test_a_redis_that_hangs_refuses_in_time_and_holds_back_nobody_else(
    replicas: Replicas, redis: RedisProcess, service: Upstream
) -> None:
    here, there, _ = replicas
    secret = await stream_token(here)
    redis.freeze()
    hanging = asyncio.create_task(outcome(here, secret))
    for _ in range(20):
        assert await outcome(there, login()) == PASSED
    assert not hanging.done()
    assert await hanging == UNKNOWN
    redis.thaw()
    assert (await outcome(there, secret))[0] in (200, 401), "the claim may have come through"
    assert await outcome(here, secret) == USED


# Without a secret


async def test_a_gateway_of_fetched_keys_gives_tokens_that_die_with_it(
    start_gateway: StartGateway, connect: Connect, service: Upstream, dead: str
) -> None:
    issuer, key = KeyIssuer(), Key("one")
    issuer.text = key_set(key)
    await issuer.start()
    routes = ROUTES.replace("auth:\n", "auth:\n  algorithms: ES256\n  jwks_url: $KEYS\n")
    try:
        gateways = [start_gateway(routes, DEAD=dead, KEYS=issuer.url) for _ in range(2)]
        here, there = [await connect(gateway.port) for gateway in gateways]
        bearer = f"Authorization: Bearer {key.token(scope='jobs:read')}"
        secret = (await ask(here, bearer)).json()["token"]
        assert await outcome(there, secret) == USED
        assert await outcome(here, secret) == PASSED
        assert await outcome(here, secret) == USED
        new = Key("two")
        issuer.text = key_set(new)
        got = await ask(here, f"Authorization: Bearer {new.token(scope='jobs:read')}")
        assert got.status == 200, "the new key was fetched for it"
    finally:
        await issuer.stop()


def test_a_replica_without_the_others_key_does_not_start(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(SHARED.replace("auth:\n", "auth:\n  algorithms: ES256\n  jwks_url: $KEYS\n"))
    env = environment(
        SERVICE="http://a", DEAD="http://a", KEYS="https://a/k", REDIS_URL="redis://:pass@r"
    )
    ended = run_gateway("serve", "--routes", str(file), env=env)
    assert ended.returncode == 1
    assert "auth.stream_token_secret" in ended.stderr
    assert "pass@" not in ended.stderr + ended.stdout
