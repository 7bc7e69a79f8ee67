"""The gate has what the configuration asks for, and nothing to wait for where it asks for none."""

from pathlib import Path

import pytest

from gateway import errors
from gateway.config import Auth, Config, Limits
from gateway.errors import Refusal
from gateway.gate import Gate
from gateway.redis_tokens import UsedAnywhere
from gateway.stream_tokens import Ticket
from gateway.used_tokens import UsedHere
from tests.key_issuer import Key, KeyIssuer, key_set

SECRET = "a secret of thirty-two bytes, yes"
REDIS = Limits(redis="redis://127.0.0.1:1")


async def test_with_a_secret_there_is_nothing_to_wait_for() -> None:
    gate = Gate(Config((), Auth(secret=SECRET)))
    gate.start()
    assert gate.has_keys
    await gate.look_again()
    await gate.close()


@pytest.mark.parametrize(
    ("endpoint", "limits", "kind"),
    [
        (None, REDIS, UsedHere),
        ("/t", Limits(), UsedHere),
        ("/t", REDIS, UsedAnywhere),
    ],
)
async def test_used_tokens_are_remembered_where_the_limits_say(
    endpoint: str | None, limits: Limits, kind: type
) -> None:
    gate = Gate(Config((), Auth(secret=SECRET, token_endpoint=endpoint), limits=limits))
    assert isinstance(gate.used, kind)
    await gate.close()


async def test_a_token_is_claimed_once_unless_it_is_released() -> None:
    gate, ticket = Gate(Config(())), Ticket("a", "/", 4_000_000_000)
    await gate.claim(ticket)
    await gate.release(ticket)
    await gate.claim(ticket)
    with pytest.raises(Refusal) as refused:
        await gate.claim(ticket)
    assert refused.value.failure is errors.TOKEN_INVALID


async def test_a_key_that_was_withdrawn_lets_nobody_in_who_was_known(tmp_path: Path) -> None:
    old, new, remote = Key("old"), Key("new"), KeyIssuer()
    remote.text = key_set(old)
    await remote.start()
    gate = Gate(Config((), Auth(algorithms=("ES256",), jwks_url=remote.url)))
    gate.start()

    def subject(key: Key) -> str:
        bearer = [b"Bearer " + token[key].encode()]
        return gate.authenticator.authenticate(authorization=bearer, query=b"", cookies=()).subject

    token = {key: key.token() for key in (old, new)}
    assert not gate.has_keys
    await gate.look_again()
    assert gate.has_keys
    assert [subject(old), subject(old)] == ["ada", "ada"]
    remote.text = key_set(new)
    assert gate.issuer
    gate.issuer._next_ask = 0
    await gate.look_again()
    assert subject(new) == "ada"
    with pytest.raises(Refusal, match="a key that is not known"):
        subject(old)
    await gate.close()
    await remote.stop()
