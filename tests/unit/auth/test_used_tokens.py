"""A token that was used is not forgotten while it could be used again, and not kept longer."""

import pytest
import time_machine

from gateway.auth import used_tokens
from gateway.auth.stream_tokens import OneUseToken
from gateway.auth.used_tokens import MemoryUsedTokens
from gateway.http import errors
from gateway.http.errors import Failure, Rejection

NOW = 1_800_000_000.0


def ticket(name: str, left: float = 60) -> OneUseToken:
    return OneUseToken(name, "/", NOW + left)


async def outcome(used: MemoryUsedTokens, claimed: OneUseToken) -> Failure | None:
    try:
        await used.claim(claimed)
    except Rejection as refusal:
        return refusal.failure
    return None


@pytest.mark.parametrize("later", [0, 59.9, 64.9])
async def test_a_token_is_used_once_until_it_expired(later: float) -> None:
    used = MemoryUsedTokens(leeway=5)
    with time_machine.travel(NOW, tick=False):
        assert await outcome(used, ticket("a")) is None
        assert await outcome(used, ticket("b")) is None
    with time_machine.travel(NOW + later, tick=False):
        assert await outcome(used, ticket("a")) is errors.TOKEN_INVALID


@time_machine.travel(NOW, tick=False)
async def test_a_claim_that_was_taken_back_can_be_made_again() -> None:
    used = MemoryUsedTokens(leeway=0)
    assert await outcome(used, ticket("a")) is None
    await used.release(ticket("a"))
    assert await outcome(used, ticket("a")) is None
    assert await outcome(used, ticket("a")) is errors.TOKEN_INVALID
    await used.close()


async def test_at_the_limit_a_token_is_rejected_rather_than_one_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(used_tokens, "MAX_USED", 2)
    used = MemoryUsedTokens(leeway=0)
    with time_machine.travel(NOW, tick=False):
        for name, expected in (
            ("a", None),
            ("b", None),
            ("c", errors.TOKEN_STORE_UNAVAILABLE),
            ("a", errors.TOKEN_INVALID),
        ):
            assert await outcome(used, ticket(name)) is expected
    with time_machine.travel(NOW + 60, tick=False):
        assert await outcome(used, ticket("c", 120)) is None
        assert len(used._until) == 1


async def test_what_expired_is_forgotten_behind_what_did_not() -> None:
    used = MemoryUsedTokens(leeway=0)
    with time_machine.travel(NOW, tick=False):
        for name, left in (("long", 60), ("short", 1)):
            await used.claim(ticket(name, left))
    with time_machine.travel(NOW + 60, tick=False):
        await used.claim(ticket("next", 120))
    assert list(used._until) == ["next"]
