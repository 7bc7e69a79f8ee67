"""What the workers have leave for is counted once for all of them, and given back when one dies."""

import asyncio
import time

import pytest

from gateway.auth.stream_tokens import OneUseToken
from gateway.config.model import Config, Limits, Route, RouteLimits, Upstream
from gateway.http.errors import RATE_LIMITED, TOKEN_INVALID, TOO_MANY_STREAMS, Rejection
from gateway.limits.local_store import LocalLimitStore
from gateway.runtime.shared_limits import SharedLimits, WorkerClaims


def config(redis: str | None = None, **limits: object) -> Config:
    route = Route("/a", (), Upstream(""), limits=RouteLimits(**limits))  # type: ignore[arg-type]
    return Config((route,), limits=Limits(redis=redis))


NAME = "/a"


def crew(commons: SharedLimits) -> tuple[WorkerClaims, WorkerClaims]:
    return WorkerClaims(commons), WorkerClaims(commons)


async def test_two_workers_share_a_users_streams() -> None:
    one, other = crew(SharedLimits(config(max_streams_per_user=1)))
    await one.acquire(1, NAME, "ada")
    with pytest.raises(Rejection) as caught:
        await other.acquire(1, NAME, "ada")
    assert caught.value.failure == TOO_MANY_STREAMS
    assert len(other) == 0
    await other.release(1)  # of what was refused: no fault
    await one.release(1)
    await other.acquire(2, NAME, "ada")


async def test_two_workers_share_a_rate() -> None:
    one, other = crew(SharedLimits(config(interval=3600.0)))
    await one.acquire(1, NAME, "ada")
    with pytest.raises(Rejection) as caught:
        await other.acquire(1, NAME, "ada")
    assert caught.value.failure == RATE_LIMITED


async def test_what_a_dead_worker_had_is_given_back() -> None:
    one, other = crew(SharedLimits(config(max_streams=2)))
    await one.acquire(1, NAME, "ada")
    await one.acquire(2, NAME, "bob")
    one.drop()
    await other.acquire(1, NAME, "ada")
    await other.acquire(2, NAME, "bob")
    assert (len(one), len(other)) == (0, 2)


async def test_what_is_given_up_while_it_waits_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ledger that is out of reach keeps a worker waiting; its browser may leave meanwhile."""
    commons = SharedLimits(config(max_streams_per_user=1))
    quota = commons.quotas.named(NAME)
    assert quota is not None
    is_asked = asyncio.Event()

    class Stuck:
        async def enter(self, *_: object) -> None:
            is_asked.set()
            await asyncio.Event().wait()

        def leave(self, _: object) -> None:
            pass

    monkeypatch.setattr(quota, "store", Stuck())
    one, other = crew(commons)
    for give_up in (one.release, lambda _: asyncio.to_thread(lambda: None)):
        taking = asyncio.create_task(one.acquire(1, NAME, "ada"))
        await is_asked.wait()
        is_asked.clear()
        await give_up(1)
        one.drop()
        await taking
        assert len(one) == 0
    monkeypatch.setattr(quota, "store", LocalLimitStore())
    await other.acquire(1, NAME, "ada")


async def test_a_route_that_is_gone_or_has_no_limits_by_now_has_room() -> None:
    commons = SharedLimits(config(max_streams=1))
    claims = WorkerClaims(commons)
    commons.adopt(config())
    await claims.acquire(1, NAME, "ada")
    await claims.acquire(2, NAME, "bob")
    await claims.release(2)


async def test_limits_that_are_read_anew_hold_for_what_is_under_way() -> None:
    commons = SharedLimits(config(max_streams=2))
    claims = WorkerClaims(commons)
    await claims.acquire(1, NAME, "ada")
    commons.adopt(config(max_streams=1))
    with pytest.raises(Rejection):
        await claims.acquire(2, NAME, "bob")


async def test_a_token_is_used_once_by_whichever_worker() -> None:
    commons = SharedLimits(config())
    one, other = crew(commons)
    ticket = OneUseToken("a", "/", time.time() + 60)
    await one.claim(ticket, 10.0)
    assert commons.used.leeway == 10.0
    one.drop()
    with pytest.raises(Rejection) as caught:
        await other.claim(ticket, 10.0)
    assert caught.value.failure == TOKEN_INVALID
    await one.unclaim(ticket)
    await other.claim(ticket, 10.0)
    await commons.close()
