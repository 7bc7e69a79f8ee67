"""A worker asks its supervisor for a slot, and rejects where it cannot ask."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.auth.stream_tokens import OneUseToken
from gateway.config.model import Config, Route, RouteLimits, Upstream
from gateway.http.errors import (
    DRAINING,
    TOKEN_INVALID,
    TOKEN_STORE_UNAVAILABLE,
    TOO_MANY_STREAMS,
    Rejection,
)
from gateway.limits.quota import Quota
from gateway.runtime.ipc import Channel
from gateway.runtime.shared_limits import (
    SharedLimits,
    SupervisorLimitStore,
    SupervisorUsedTokens,
    WorkerClaims,
)

PATIENCE = 10.0
LIMITS = RouteLimits(max_streams=1)


@asynccontextmanager
async def supervised() -> AsyncIterator[tuple[Channel, Channel, WorkerClaims]]:
    """A worker's channel, the supervisor's, and what the supervisor keeps."""
    claims = WorkerClaims(SharedLimits(Config((Route("/a", (), Upstream(""), limits=LIMITS),))))
    names = ("acquire", "release", "claim", "unclaim")
    ours, theirs = socket.socketpair()
    worker = await Channel.over(ours, {})
    supervisor = await Channel.over(theirs, {name: getattr(claims, name) for name in names})
    serving = [asyncio.create_task(end.serve()) for end in (worker, supervisor)]
    yield worker, supervisor, claims
    await worker.finish()
    await supervisor.finish()
    await asyncio.gather(*serving)


async def test_leave_is_had_and_given_back() -> None:
    async with supervised() as (channel, _, claims), asyncio.timeout(PATIENCE):
        quota = Quota("/a", LIMITS, SupervisorLimitStore(channel))
        first, second = quota.slot("ada"), quota.slot("bob")
        await first.acquire()
        with pytest.raises(Rejection) as caught:
            await second.acquire()
        assert caught.value.failure == TOO_MANY_STREAMS
        second.release()
        assert len(claims) == 1
        first.release()
        first.release()
        third = quota.slot("eve")
        await third.acquire()
        assert len(claims) == 1


async def test_without_a_supervisor_nothing_begins() -> None:
    async with supervised() as (channel, supervisor, _), asyncio.timeout(PATIENCE):
        await supervisor.finish()
        permit = Quota("/a", LIMITS, SupervisorLimitStore(channel)).slot("ada")
        with pytest.raises(Rejection) as caught:
            await permit.acquire()
        assert caught.value.failure == DRAINING
        permit.release()
        with pytest.raises(Rejection) as caught:
            await SupervisorUsedTokens(channel, 0.0).claim(OneUseToken("a", "/", time.time() + 60))
        assert caught.value.failure == TOKEN_STORE_UNAVAILABLE


async def test_a_token_is_used_up_and_may_be_given_back() -> None:
    async with supervised() as (channel, _, _), asyncio.timeout(PATIENCE):
        used = SupervisorUsedTokens(channel, 0.0)
        ticket = OneUseToken("a", "/", time.time() + 60)
        await used.claim(ticket)
        with pytest.raises(Rejection) as caught:
            await used.claim(ticket)
        assert caught.value.failure == TOKEN_INVALID
        await used.release(ticket)
        await used.claim(ticket)
        await used.close()
