"""The gate has what the configuration asks for, and nothing to wait for where it asks for none."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.auth.redis_used_tokens import RedisUsedTokens
from gateway.auth.service import AuthService
from gateway.auth.stream_tokens import OneUseToken
from gateway.auth.used_tokens import MemoryUsedTokens
from gateway.config.model import Auth, Config, Limits
from gateway.http import errors
from gateway.http.errors import Rejection
from tests.support.key_issuer import Key, KeyIssuer, key_set

SECRET = "a secret of thirty-two bytes, yes"
REDIS = Limits(redis="redis://127.0.0.1:1")


async def test_with_a_secret_there_is_nothing_to_wait_for() -> None:
    gate = AuthService(Config((), Auth(secret=SECRET)))
    gate.start()
    assert gate.has_keys
    await gate.refetch_keys()
    await gate.close()


@pytest.mark.parametrize(
    ("endpoint", "limits", "kind"),
    [
        (None, REDIS, MemoryUsedTokens),
        ("/t", Limits(), MemoryUsedTokens),
        ("/t", REDIS, RedisUsedTokens),
    ],
)
async def test_used_tokens_are_remembered_where_the_limits_say(
    endpoint: str | None, limits: Limits, kind: type
) -> None:
    gate = AuthService(Config((), Auth(secret=SECRET, token_endpoint=endpoint), limits=limits))
    assert isinstance(gate.used, kind)
    await gate.close()


async def test_a_token_is_redeemed_once_unless_it_is_given_back() -> None:
    gate, ticket = AuthService(Config(())), OneUseToken("a", "/", 4_000_000_000)
    async with gate.redeem(ticket) as use:
        use.give_back()
    with pytest.raises(Rejection, match="draining"):
        async with gate.redeem(ticket):
            raise Rejection(errors.DRAINING)
    async with gate.redeem(ticket):
        pass
    with pytest.raises(Rejection) as refused:
        async with gate.redeem(ticket):
            pass
    assert refused.value.failure is errors.TOKEN_INVALID


async def test_a_key_that_was_withdrawn_rejects_tokens_that_were_accepted(tmp_path: Path) -> None:
    old, new, remote = Key("old"), Key("new"), KeyIssuer()
    remote.text = key_set(old)
    await remote.start()
    gate = AuthService(Config((), Auth(algorithms=("ES256",), jwks_url=remote.url)))
    gate.start()

    def subject(key: Key) -> str:
        bearer = [b"Bearer " + token[key].encode()]
        return gate.authenticator.authenticate(authorization=bearer, query=b"", cookies=()).subject

    token = {key: key.token() for key in (old, new)}
    assert not gate.has_keys
    await gate.refetch_keys()
    assert gate.has_keys
    assert [subject(old), subject(old)] == ["ada", "ada"]
    remote.text = key_set(new)
    assert gate.issuer
    gate.issuer._next_ask = 0
    await gate.refetch_keys()
    assert subject(new) == "ada"
    with pytest.raises(Rejection, match="a key that is not known"):
        subject(old)
    await gate.close()
    await remote.stop()


AUTH = Auth(secret=SECRET, token_endpoint="/t")


async def test_one_after_another_knows_which_tokens_were_used() -> None:
    first, ticket = AuthService(Config((), AUTH)), OneUseToken("a", "/", 4_000_000_000)
    await first.used.claim(ticket)
    second = AuthService(Config((), Auth(secret=SECRET, leeway=3.0)), first)
    third = AuthService(Config((), AUTH), second)
    for gate in (first, second, third):
        with pytest.raises(Rejection):
            await gate.used.claim(ticket)


async def test_one_after_another_signs_with_the_same_key_of_its_own() -> None:
    auth = Auth(algorithms=("ES256",), jwks_url="http://127.0.0.1:1", token_endpoint="/t")
    first = AuthService(Config((), auth))
    token, _ = first.authenticator.issue({"sub": "ada", "exp": 4_000_000_000}, "/x")
    second = AuthService(Config((), replace(auth, leeway=3.0)), first)
    for gate in (first, second):
        query = b"token=" + token.encode()
        asked = gate.authenticator.authenticate(authorization=(), query=query, cookies=())
        assert asked.subject == "ada"
    other = AuthService(Config((), auth)).authenticator
    with pytest.raises(Rejection):
        other.authenticate(authorization=(), query=query, cookies=())


def test_what_was_verified_is_remembered_only_under_the_same_rules() -> None:
    first = AuthService(Config((), AUTH))
    assert AuthService(Config((), replace(AUTH)), first).authenticator is first.authenticator
    for change in ({"secret": SECRET[::-1]}, {"audience": ("a",)}, {"cookie": None}):
        after = AuthService(Config((), replace(AUTH, **change)), first)
        assert after.authenticator is not first.authenticator


async def test_a_redis_once_there_stays_also_without_a_token_endpoint() -> None:
    without = replace(AUTH, token_endpoint=None)
    first = AuthService(Config((), without, limits=REDIS))
    second = AuthService(Config((), AUTH, limits=REDIS), first)
    assert isinstance(second.used, RedisUsedTokens)
    third = AuthService(Config((), without, limits=REDIS), second)
    assert third.used is second.used
    await second.close(third)
    await third.close()


async def test_until_it_begins_it_has_changed_nothing_of_the_one_before() -> None:
    first = AuthService(Config((), AUTH))
    second = AuthService(Config((), replace(AUTH, leeway=99.0)), first)
    assert first.used.leeway == AUTH.leeway
    second.begin()
    assert first.used.leeway == 99.0


async def test_fetched_keys_are_kept_where_the_issuer_is_the_same() -> None:
    key, remote = Key("k"), KeyIssuer()
    remote.text = key_set(key)
    await remote.start()
    auth = Auth(algorithms=("ES256",), jwks_url=remote.url)
    first = AuthService(Config((), auth))
    first.start()
    await first.refetch_keys()
    second = AuthService(Config((), replace(auth, leeway=3.0)), first)
    second.start()
    await second.await_keys(first)
    second.begin()
    await first.close(second)
    bearer = [b"Bearer " + key.token().encode()]
    asked = second.authenticator.authenticate(authorization=bearer, query=b"", cookies=())
    assert (asked.subject, len(remote.fetches)) == ("ada", 1)
    third = AuthService(Config((), replace(auth, algorithms=("ES256", "ES384"))), second)
    third.start()
    await third.await_keys(second)
    assert len(remote.fetches) == 2
    await third.close(second)
    await second.close()
    await remote.stop()
