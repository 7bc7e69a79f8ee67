"""Keys come from the issuer: at the start, when they change, and not at all while it is away."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.key_issuer import Key, KeyIssuer, key_set
from tests.support.raw_client import RawClient
from tests.support.upstream import Upstream
from tests.wire.conftest import Connect, StartGateway

ROUTES = """\
auth:
  algorithms: [ES256, RS256]
  jwks_url: $KEYS
routes:
- path: /private
  proxy_upstream: $SERVICE
- path: /open
  proxy_upstream: $SERVICE
  auth_required: false
"""
PASSED = (200, "")
UNKNOWN = (401, "token_invalid")
UNAVAILABLE = (503, "keys_unavailable")
KEY = Key("one")
Start = Callable[[], Awaitable[GatewayProcess]]


@pytest.fixture
async def issuer() -> AsyncIterator[KeyIssuer]:
    issuer = KeyIssuer()
    issuer.text = key_set(KEY)
    await issuer.start()
    yield issuer
    issuer.is_free.set()
    await issuer.stop()


@pytest.fixture
def start(start_gateway: StartGateway, issuer: KeyIssuer) -> Start:
    return lambda: asyncio.to_thread(start_gateway, ROUTES, KEYS=issuer.url)


async def outcome(client: RawClient, token: str) -> tuple[int, str]:
    """The status of a request with this token, and the code of a refusal."""
    got = await client.fetch("/private", f"Authorization: Bearer {token}")
    return got.status, got.json()["code"] if got.status != 200 else ""


async def readiness(client: RawClient) -> tuple[int, bool]:
    got = await client.fetch("/readyz")
    return got.status, got.json()["checks"]["keys"]["ok"]


async def test_who_has_a_token_of_the_issuer_passes(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer
) -> None:
    client = await connect((await start()).port)
    for _ in range(3):
        assert await outcome(client, KEY.token()) == PASSED
    assert len(issuer.fetches) in (1, 2), "the first request may have come before the keys"


async def test_a_gateway_without_keys_is_not_ready_and_its_requests_wait_for_them(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer
) -> None:
    issuer.is_free.clear()
    gateway = await start()
    client, other = await connect(gateway.port), await connect(gateway.port)
    assert await readiness(other) == (503, False)
    waiting = asyncio.create_task(outcome(client, KEY.token()))
    assert (await other.fetch("/open")).status == 200
    await issuer.until_fetched(1)
    assert not waiting.done()
    issuer.is_free.set()
    assert await waiting == PASSED
    assert await readiness(other) == (200, True)


async def test_a_gateway_whose_issuer_is_away_says_so_and_recovers(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer
) -> None:
    await issuer.stop()
    gateway = await start()
    client = await connect(gateway.port)
    got = await client.fetch("/private", f"Authorization: Bearer {KEY.token()}")
    assert (got.status, got.json()["code"]) == UNAVAILABLE
    assert got.value("Retry-After") == "1"
    assert await readiness(client) == (503, False)
    await issuer.start()
    while await outcome(client, KEY.token()) == UNAVAILABLE:
        pass
    assert await outcome(client, KEY.token()) == PASSED
    assert await readiness(client) == (200, True)
    assert "jwks_fetch_failed" in gateway.output


async def test_a_new_key_is_fetched_when_a_token_names_it(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer
) -> None:
    gateway = await start()
    client = await connect(gateway.port)
    await asyncio.to_thread(gateway.await_output, "jwks_fetched")
    new = Key("two")
    issuer.text = key_set(new)
    assert await outcome(client, new.token()) == PASSED
    assert await outcome(client, KEY.token()) == UNKNOWN, "that key was withdrawn"
    assert len(issuer.fetches) == 2


async def test_made_up_key_names_cannot_make_it_ask_the_issuer_again_and_again(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer
) -> None:
    gateway = await start()
    client = await connect(gateway.port)
    await asyncio.to_thread(gateway.await_output, "jwks_fetched")
    for number in range(30):
        assert await outcome(client, Key(f"made-up-{number}").token()) == UNKNOWN
    assert len(issuer.fetches) <= 2
    assert await outcome(client, KEY.token()) == PASSED


@pytest.mark.parametrize("fault", ["away", "garbage", "huge", "redirect", "slow"])
async def test_old_keys_are_kept_while_the_issuer_is_out_of_order(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer, fault: str
) -> None:
    gateway = await start()
    client, other = await connect(gateway.port), await connect(gateway.port)
    await asyncio.to_thread(gateway.await_output, "jwks_fetched")
    new = Key("two")
    issuer.text = key_set(new)
    if fault == "away":
        await issuer.stop()
    elif fault == "garbage":
        issuer.text = b"<html>busy</html>"
    elif fault == "huge":
        issuer.text = b" " * 50_000_000 + key_set(new)
    elif fault == "redirect":
        issuer.status, issuer.headers = 302, {"Location": "/keys"}
    else:
        issuer.is_free.clear()
    asked = asyncio.create_task(outcome(client, new.token()))
    for _ in range(10):
        assert await outcome(other, KEY.token()) == PASSED
    assert await asked == UNAVAILABLE
    assert await outcome(other, KEY.token()) == PASSED
    assert await readiness(other) == (200, True)


# Key confusion


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims() -> dict[str, object]:
    return {"sub": "eve", "exp": int(time.time()) + 300}


def hmac_token(secret: bytes, bits: str, kid: str) -> str:
    """A token signed with HMAC by hand: libraries refuse to take a public key for a secret."""
    header = json.dumps({"alg": f"HS{bits}", "kid": kid}).encode()
    signed = f"{segment(header)}.{segment(json.dumps(claims()).encode())}"
    return f"{signed}.{segment(hmac.digest(secret, signed.encode(), f'sha{bits}'))}"


@pytest.mark.parametrize("bits", ["256", "512"])
async def test_a_published_key_is_no_secret_to_sign_with(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer, bits: str
) -> None:
    secrets = [json.dumps(KEY.jwk()).encode(), str(KEY.jwk()["x"]).encode(), issuer.text]
    client = await connect((await start()).port)
    for secret in secrets:
        assert await outcome(client, hmac_token(secret, bits, "one")) == UNKNOWN
    assert service.requests == []


async def test_a_symmetric_key_of_the_issuer_verifies_no_token(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer
) -> None:
    secret = b"whoever reads the set knows this one"
    issuer.text = key_set(KEY, {"kty": "oct", "kid": "oct", "k": segment(secret)})
    client = await connect((await start()).port)
    for bits in ("256", "384"):
        assert await outcome(client, hmac_token(secret, bits, "oct")) == UNKNOWN
    assert await outcome(client, KEY.token()) == PASSED


HEADERS: list[dict[str, object]] = [
    {"alg": "none"},
    {"alg": "none", "kid": "one"},
    {"alg": "RS256", "kid": "one"},
    {"alg": "ES256", "kid": "one", "jku": "http://127.0.0.1:1/keys"},
    {"alg": "ES256", "kid": "one", "jwk": KEY.jwk()},
    {"alg": "ES256", "kid": ["one"]},
    {"alg": ["ES256"], "kid": "one"},
]


async def test_a_header_that_would_choose_its_own_key_is_refused(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer
) -> None:
    client = await connect((await start()).port)
    signature = KEY.token().rpartition(".")[2]
    payload = segment(json.dumps(claims()).encode())
    for header in HEADERS:
        token = f"{segment(json.dumps(header).encode())}.{payload}.{signature}"
        assert await outcome(client, token) == UNKNOWN, header
    assert service.requests == []


async def test_a_key_of_the_same_name_for_other_ends_is_not_taken(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer
) -> None:
    other, twin = Key("one"), Key("one")
    issuer.text = key_set(other.jwk(use="enc"), KEY, twin)
    client = await connect((await start()).port)
    assert await outcome(client, other.token()) == UNKNOWN
    assert await outcome(client, KEY.token()) == PASSED
    assert await outcome(client, twin.token()) == PASSED


async def test_a_token_that_names_no_key_is_tried_with_those_that_there_are(
    start: Start, connect: Connect, service: Upstream, issuer: KeyIssuer
) -> None:
    nameless, stranger = Key(), Key()
    issuer.text = key_set(KEY, nameless)
    client = await connect((await start()).port)
    assert await outcome(client, nameless.token()) == PASSED
    assert await outcome(client, stranger.token()) == UNKNOWN
