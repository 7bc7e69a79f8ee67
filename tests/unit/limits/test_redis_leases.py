"""Limits hold over all replicas; without Redis each holds them alone, and nobody waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from gateway.config.model import RouteLimits
from gateway.http.errors import RATE_LIMITED, TOO_MANY_STREAMS, Rejection
from gateway.limits import redis_leases
from gateway.limits.redis_leases import STREAMS, TIMEOUT, Lease, RedisLeases
from tests.support.redis_process import RedisProcess

PATIENCE = 20.0
TWO = RouteLimits(max_streams_per_user=2)
SLOW = RouteLimits(interval=3600, burst=2)
KEY = Lease("/a", "ada").key


@pytest.fixture
async def replicas(redis: RedisProcess) -> AsyncIterator[list[RedisLeases]]:
    replicas = [RedisLeases(redis.url) for _ in range(2)]
    yield replicas
    for each in replicas:
        await each.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time over many who come at once. It stands before `replicas`."""
    monkeypatch.setattr(redis_leases, "TIMEOUT", PATIENCE)
    monkeypatch.setattr(redis_leases, "PATIENCE", PATIENCE)


async def outcome(ledger: RedisLeases, limits: RouteLimits, user: str = "ada") -> object:
    """Returns the lease of an admitted stream, None if Redis does not answer, or the failure."""
    lease = Lease("/a", user)
    try:
        return lease if await ledger.enter(lease, limits) else None
    except Rejection as refusal:
        return refusal.failure


async def entered(ledger: RedisLeases, limits: RouteLimits = TWO) -> Lease:
    lease = await outcome(ledger, limits)
    assert isinstance(lease, Lease)
    return lease


async def leases(redis: RedisProcess) -> int:
    async with Redis.from_url(redis.url) as client:
        count: int = await client.zcard(STREAMS + KEY)
    return count


async def lease_end(redis: RedisProcess, lease: Lease) -> float:
    async with Redis.from_url(redis.url) as client:
        score = await client.zscore(STREAMS + lease.key, lease.id)
    assert score is not None
    return float(score)


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await is_true():  # noqa: ASYNC110 - what Redis knows, without an event
            await asyncio.sleep(0.01)


async def found(ledger: RedisLeases) -> bool:
    return ledger.is_reached


async def test_of_many_at_once_on_any_replica_as_many_are_admitted_as_may(
    patient: None, replicas: list[RedisLeases]
) -> None:
    outcomes = await asyncio.gather(*(outcome(ledger, TWO) for ledger in replicas * 25))
    assert outcomes.count(TOO_MANY_STREAMS) == 48
    assert isinstance(await outcome(replicas[0], TWO, "grace"), Lease)


async def test_who_left_one_replica_may_come_to_it_again_at_once_and_to_another_soon(
    redis: RedisProcess, replicas: list[RedisLeases]
) -> None:
    one, other = replicas
    for _ in range(20):
        first, second = await entered(one), await entered(one)
        one.leave(first)
        one.leave(await entered(one))
        one.leave(second)

        async def nobody_left() -> bool:
            return await leases(redis) == 0

        await until(nobody_left)
        other.leave(await entered(other))
        await until(nobody_left)


async def test_a_rate_is_that_of_all_replicas_together(
    patient: None, replicas: list[RedisLeases]
) -> None:
    outcomes = await asyncio.gather(*(outcome(ledger, SLOW) for ledger in replicas * 10))
    assert outcomes.count(RATE_LIMITED) == 18
    with pytest.raises(Rejection) as refused:
        await replicas[0].enter(Lease("/a", "ada"), SLOW)
    [(name, wait)] = refused.value.headers
    assert (name, 3590 < int(wait) <= 3600) == ("Retry-After", True)
    assert isinstance(await outcome(replicas[1], SLOW, "grace"), Lease)


async def test_a_bucket_fills_again(replicas: list[RedisLeases]) -> None:
    quick = RouteLimits(interval=0.2, burst=1)
    await entered(replicas[0], quick)
    assert await outcome(replicas[1], quick) is RATE_LIMITED

    async def is_admitted() -> bool:
        return isinstance(await outcome(replicas[1], quick), Lease)

    begun = time.monotonic()
    await until(is_admitted)
    assert time.monotonic() - begun < 2


async def test_what_is_refused_for_the_streams_does_not_count_for_the_rate(
    replicas: list[RedisLeases],
) -> None:
    both = RouteLimits(max_streams_per_user=1, interval=3600, burst=2)
    lease = await entered(replicas[0], both)
    for _ in range(5):
        assert await outcome(replicas[1], both) is TOO_MANY_STREAMS
    replicas[0].leave(lease)
    await entered(replicas[0], both)


async def test_nothing_that_redis_keeps_outlives_its_use(
    redis: RedisProcess, replicas: list[RedisLeases]
) -> None:
    await entered(replicas[0], RouteLimits(max_streams_per_user=2, interval=60, burst=2))
    async with Redis.from_url(redis.url) as client:
        keys = await client.keys("*")
        assert len(keys) == 2
        assert all([0 < await client.pttl(key) <= 60_000 for key in keys])


async def test_the_streams_of_a_replica_that_died_are_over_when_their_leases_are(
    redis: RedisProcess, replicas: list[RedisLeases], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "LEASE", 2.0)
    monkeypatch.setattr(redis_leases, "RENEWAL", 0.0)
    monkeypatch.setattr(redis_leases, "PAUSE", 0.05)
    dead, alive = replicas
    await entered(dead)
    kept = await entered(alive)
    end = await lease_end(redis, kept)
    assert dead._keeper is not None
    dead._keeper.cancel()
    assert await outcome(alive, TWO) is TOO_MANY_STREAMS
    begun = time.monotonic()

    async def is_over() -> bool:
        return isinstance(await outcome(alive, TWO), Lease)

    await until(is_over)
    assert time.monotonic() - begun < 6
    assert await lease_end(redis, kept) > end, "those of the living are renewed"
    assert await leases(redis) == 2


async def test_without_redis_no_answer_is_given_until_it_is_back(
    redis: RedisProcess, replicas: list[RedisLeases], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "PAUSE", 0.05)
    one, other = replicas
    with capture_logs() as lines:
        before = await entered(one)
        redis.kill()
        for _ in range(3):
            assert await outcome(one, TWO) is None
        assert (one.is_reached, one.fallbacks) == (False, 3)
        one.leave(before)
        redis.start()
        await until(lambda: found(one))
    assert [line["event"] for line in lines] == ["limit_store_unavailable", "limit_store_available"]
    assert lines[0]["error"] == "redis: ConnectionError"

    async def only_those_of_now() -> bool:
        return await leases(redis) == 3

    await until(only_those_of_now)
    assert await outcome(other, TWO) is TOO_MANY_STREAMS, "what began meanwhile is written down"
    assert one.fallbacks == 3


async def test_a_redis_that_lost_all_is_filled_again(
    redis: RedisProcess, replicas: list[RedisLeases], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "PAUSE", 0.05)
    monkeypatch.setattr(redis_leases, "RENEWAL", 0.0)
    await entered(replicas[0])
    async with Redis.from_url(redis.url) as client:
        await client.flushall()

    async def is_reported() -> bool:
        return await leases(redis) == 1

    await until(is_reported)


async def test_a_redis_that_hangs_is_waited_for_once_by_those_who_asked_together(
    redis: RedisProcess, replicas: list[RedisLeases], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "PAUSE", 0.05)
    one = replicas[0]
    one.leave(await entered(one))
    redis.freeze()
    begun = time.monotonic()
    outcomes = await asyncio.gather(*(outcome(one, TWO, str(number)) for number in range(50)))
    assert outcomes == [None] * 50
    assert time.monotonic() - begun < TIMEOUT * 25, "they waited together"
    begun = time.monotonic()
    for number in range(50):
        assert await outcome(one, TWO, str(number)) is None
    assert time.monotonic() - begun < TIMEOUT * 10, "nobody waits any more"
    redis.thaw()
    await until(lambda: found(one))
    assert isinstance(await outcome(one, TWO, "grace"), Lease)


async def test_a_browser_that_left_while_redis_was_asked_is_struck_out(
    redis: RedisProcess, replicas: list[RedisLeases]
) -> None:
    one = replicas[0]
    one.leave(await entered(one))
    redis.freeze()
    asking = asyncio.create_task(one.enter(Lease("/a", "ada"), TWO))
    await asyncio.sleep(TIMEOUT / 5)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    redis.thaw()
    await entered(one)
    await entered(one)
    assert await outcome(one, TWO) is TOO_MANY_STREAMS

    async def only_the_two() -> bool:
        return await leases(redis) == 2

    await until(only_the_two)


async def test_closing_strikes_out_what_has_ended(
    redis: RedisProcess, replicas: list[RedisLeases]
) -> None:
    one = replicas[0]
    one.leave(await entered(one))
    await one.close()
    assert await leases(redis) == 0


async def test_more_leases_than_go_into_one_command_are_renewed(
    redis: RedisProcess, replicas: list[RedisLeases], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "BATCH", 3)
    many = RouteLimits(max_streams_per_user=10)
    taken = [await entered(replicas[0], many) for _ in range(10)]
    async with Redis.from_url(redis.url) as client:
        await client.flushall()
    await replicas[0]._renew_all()
    assert await leases(redis) == 10
    assert await outcome(replicas[1], many) is TOO_MANY_STREAMS
    for lease in taken:
        replicas[0].leave(lease)
    await replicas[0].close()
    assert await leases(redis) == 0


async def test_closing_ends_the_renewal_though_the_client_made_a_timeout_of_the_cancellation(
    replicas: list[RedisLeases], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "PAUSE", 0.001)
    monkeypatch.setattr(redis_leases, "RENEWAL", 0)
    asked = asyncio.Event()

    async def ping() -> None:
        asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise RedisError("timed out while it closed") from None

    one = replicas[0]
    monkeypatch.setattr(one._redis, "ping", ping)
    await entered(one)
    async with asyncio.timeout(PATIENCE):
        await asked.wait()
        await one.close()
