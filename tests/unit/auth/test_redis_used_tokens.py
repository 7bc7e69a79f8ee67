"""A token is used once over all replicas that share a Redis, and never while that is away."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.auth import redis_used_tokens
from gateway.auth.redis_used_tokens import PREFIX, TIMEOUT, RedisUsedTokens
from gateway.auth.stream_tokens import OneUseToken
from gateway.http import errors
from gateway.http.errors import Failure, Rejection
from tests.support.redis_process import RedisProcess

PATIENCE = 20.0


@pytest.fixture
async def replicas(redis: RedisProcess) -> AsyncIterator[list[RedisUsedTokens]]:
    replicas = [RedisUsedTokens(redis.url, leeway=5) for _ in range(2)]
    yield replicas
    for each in replicas:
        await each.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time over many who come at once. It stands before `replicas`."""
    monkeypatch.setattr(redis_used_tokens, "TIMEOUT", PATIENCE)


def ticket(name: str = "a", left: float = 60) -> OneUseToken:
    return OneUseToken(name, "/", time.time() + left)


async def outcome(used: RedisUsedTokens, claimed: OneUseToken) -> Failure | None:
    try:
        await used.claim(claimed)
    except Rejection as refusal:
        return refusal.failure
    return None


async def test_of_many_claims_at_once_anywhere_one_succeeds(
    patient: None,
    replicas: list[RedisUsedTokens],
) -> None:
    claims = [outcome(used, ticket()) for used in replicas * 50]
    outcomes = await asyncio.gather(*claims)
    assert outcomes.count(None) == 1
    assert outcomes.count(errors.TOKEN_INVALID) == 99


async def test_a_claim_that_was_taken_back_can_be_made_elsewhere(
    replicas: list[RedisUsedTokens],
) -> None:
    one, other = replicas
    await one.claim(ticket())
    await one.release(ticket())
    assert await outcome(other, ticket()) is None
    assert await outcome(one, ticket()) is errors.TOKEN_INVALID


async def test_a_used_token_is_kept_past_its_end_by_what_two_clocks_may_be_apart(
    redis: RedisProcess, replicas: list[RedisUsedTokens]
) -> None:
    await replicas[0].claim(ticket("a", 60))
    await replicas[0].claim(ticket("late", -60))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Redis.from_url(redis.url))
        assert 60 < await client.ttl(PREFIX + "a") <= 71
        assert await client.ttl(PREFIX + "late") <= 1


async def test_a_redis_that_is_gone_lets_none_in_until_it_is_back(
    redis: RedisProcess, replicas: list[RedisUsedTokens]
) -> None:
    one, other = replicas
    with capture_logs() as lines:
        assert await outcome(one, ticket("before")) is None
        redis.kill()
        for _ in range(3):
            assert await outcome(one, ticket("during")) is errors.TOKEN_STORE_UNAVAILABLE
        await one.release(ticket("during"))
        redis.start()
        assert await outcome(one, ticket("during")) is None
        assert await outcome(other, ticket("before")) is errors.TOKEN_INVALID
    assert [line["event"] for line in lines] == [
        "token_store_unavailable",
        "token_store_available",
    ]


async def test_a_redis_that_hangs_costs_a_second_and_confuses_no_later_claim(
    redis: RedisProcess, replicas: list[RedisUsedTokens]
) -> None:
    used = replicas[0]
    assert await outcome(used, ticket("before")) is None
    redis.freeze()
    begun = time.monotonic()
    claims = [outcome(used, ticket(f"during-{number}")) for number in range(50)]
    assert set(await asyncio.gather(*claims)) == {errors.TOKEN_STORE_UNAVAILABLE}
    assert time.monotonic() - begun < TIMEOUT * len(claims) / 2  # all wait together, not one by one
    redis.thaw()
    for number in range(50):
        assert await outcome(used, ticket(f"after-{number}")) is None
        assert await outcome(used, ticket(f"after-{number}")) is errors.TOKEN_INVALID
    assert await outcome(used, ticket("before")) is errors.TOKEN_INVALID


async def test_an_answer_that_was_lost_makes_a_claim_no_elses(redis: RedisProcess) -> None:
    """The command is sent again on a new connection, and finds what it wrote the first time."""
    lost: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", redis.port)
        while data := await reader.read(65536):
            to_redis.write(data)
            answer = await from_redis.read(65536)
            if b"$3\r\nSET\r\n" in data and not lost:
                lost.append(answer)
                break
            writer.write(answer)
        to_redis.close()
        writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        used = RedisUsedTokens(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", leeway=0)
        assert await outcome(used, ticket()) is None
        assert lost == [b"+OK\r\n"]
        assert await outcome(used, ticket()) is errors.TOKEN_INVALID
        await used.close()


async def test_what_answers_but_is_no_redis_lets_none_in() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        used = RedisUsedTokens(f"redis://127.0.0.1:{port}", leeway=0)
        assert await outcome(used, ticket()) is errors.TOKEN_STORE_UNAVAILABLE
        await used.close()
