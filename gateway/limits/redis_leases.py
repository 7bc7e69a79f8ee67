"""Open exchanges and rates of users over all replicas, in the Redis that they share.

This is a script of our own because the known libraries count in windows. Two windows let twice the
rate through at their border, or they store each request, and none has leases. One round trip
decides on both limits.
"""

import asyncio
import random
from collections.abc import Sequence
from hashlib import blake2b
from itertools import islice
from typing import Final

import structlog
from redis.exceptions import RedisError

from gateway.background import in_background
from gateway.config.model import RouteLimits
from gateway.limits.quota import too_fast, too_many
from gateway.redis_client import client

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

# Seconds.
TIMEOUT = 0.25  # the longest time that a request waits
PATIENCE = 1.0  # for work that no request waits for
LEASE = 30.0  # the life of a lease that its replica does not renew
RENEWAL = 10.0
PAUSE = 1.0  # between two attempts to reach Redis again
CONNECTIONS = 8  # a small number, so that a crowd of requests does not wait for new connections
BATCH = 200  # leases, or users, in one command
MOST_LEAVING = 10_000  # bounds for leases that are still to be removed

STREAMS, RATE = "gateway:streams:", "gateway:rate:"

# Times are microseconds of Redis' own clock. `streams` is a sorted set of leases by their end.
# `rate` is the time at which the bucket is full again, see token_bucket.py. The arguments from
# ARGV[6] on are leases that have ended.
_ENTER: Final = """
local streams, rate, id = KEYS[1], KEYS[2], ARGV[1]
local most, lease = tonumber(ARGV[2]), tonumber(ARGV[3])
local interval, whole = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if most > 0 then
  for i = 6, #ARGV do redis.call('ZREM', streams, ARGV[i]) end
  redis.call('ZREM', streams, id)
  redis.call('ZREMRANGEBYSCORE', streams, '-inf', now)
  if redis.call('ZCARD', streams) >= most then return -1 end
end
if interval > 0 then
  local full_at = math.max(tonumber(redis.call('GET', rate) or 0), now)
  local wait = full_at + interval - whole - now
  if wait > 0 then return math.ceil(wait) end
  full_at = full_at + interval
  local life = math.ceil((full_at - now) / 1000)
  redis.call('SET', rate, string.format('%.0f', full_at), 'PX', life)
end
if most > 0 then
  redis.call('ZADD', streams, now + lease * 1000, id)
  redis.call('PEXPIRE', streams, lease)
end
return 0
"""
_RENEW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i, streams in ipairs(KEYS) do
  redis.call('ZADD', streams, now + ARGV[1] * 1000, ARGV[i + 1])
  redis.call('PEXPIRE', streams, ARGV[1])
end
"""
_FAULTS = (RedisError, OSError, TimeoutError)


class Lease:
    """One open exchange of a user on a route, as all replicas know it.

    `key` is a digest of route and user, so that Redis holds neither.
    """

    __slots__ = ("id", "key")

    def __init__(self, route: str, user: str) -> None:
        self.key = blake2b(f"{route}\0{user}".encode(), digest_size=16).hexdigest()
        self.id = random.randbytes(12).hex()  # noqa: S311 - unique, not secret


class RedisLeases:
    """Grants and renews leases in Redis, or says that Redis cannot decide now.

    A request waits `TIMEOUT` at most, and only if it asked at the moment Redis was lost. After that
    no request waits until a background task reaches Redis again. Then the exchanges that began
    meanwhile are written to Redis too.

    `fallbacks` counts the decisions that were made without Redis.
    """

    def __init__(self, url: str) -> None:
        self.is_reached = True
        self.fallbacks = 0
        self._redis = client(url, PATIENCE, CONNECTIONS)
        self._enter = self._redis.register_script(_ENTER)
        self._renew = self._redis.register_script(_RENEW)
        self._live: dict[str, Lease] = {}
        self._leaving: dict[str, tuple[str, ...]] = {}  # ids of leases that have ended, by key
        self._writing = asyncio.Lock()  # so that no lease is renewed after it was removed
        self._is_closed = False
        self._keeper: asyncio.Task[None] | None = None
        self._striker: asyncio.Task[None] | None = None

    async def enter(self, lease: Lease, limits: RouteLimits) -> bool:
        """Let an exchange begin. See `Leases`."""
        if self._keeper is None:
            self._keeper = in_background(self._keep())
        wait = await self._ask(lease, limits) if self.is_reached else None
        if wait is not None and wait < 0:
            raise too_many(limits.max_streams_per_user or 0)
        if wait:
            raise too_fast(wait / 1e6)
        if limits.max_streams_per_user is not None:
            self._live[lease.id] = lease
        if wait is None:
            self.fallbacks += 1
        return wait is not None

    def leave(self, lease: Lease) -> None:
        """Give a lease back. See `Leases`."""
        if self._live.pop(lease.id, None) is not None:
            self._strike(lease)

    async def close(self) -> None:
        """Remove the leases that have ended, and close the connections."""
        self._is_closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._striker is not None:
            await self._striker
        await self._redis.aclose()

    async def _ask(self, lease: Lease, limits: RouteLimits) -> int | None:
        """Returns the microseconds to wait; -1 for too many streams, None without Redis."""
        interval = (limits.interval or 0.0) * 1e6
        whole = interval * limits.burst
        most = limits.max_streams_per_user or 0
        gone = self._leaving.get(lease.key, ())
        try:
            async with asyncio.timeout(TIMEOUT):
                told = await self._enter(
                    keys=[STREAMS + lease.key, RATE + lease.key],
                    args=[lease.id, most, _milliseconds(LEASE), interval, whole, *gone],
                )
        except _FAULTS as error:
            self._lost(error)
            return None
        except BaseException:
            self._strike(lease)  # the client is gone, and the lease may have been written
            raise
        return int(told)

    def _strike(self, lease: Lease) -> None:
        """Remove a lease soon. A lease that is not removed expires by itself."""
        ids = self._leaving.get(lease.key, ())
        if len(self._leaving) < MOST_LEAVING and len(ids) < MOST_LEAVING:
            self._leaving[lease.key] = (*ids, lease.id)
            self._begin_to_strike()

    def _begin_to_strike(self) -> None:
        if self.is_reached and self._leaving and (self._striker is None or self._striker.done()):
            self._striker = in_background(self._strike_all())

    async def _strike_all(self) -> None:
        while self._leaving:
            batch = list(islice(self._leaving.items(), BATCH))
            pipeline = self._redis.pipeline(transaction=False)
            for key, ids in batch:
                pipeline.zrem(STREAMS + key, *ids)
            try:
                async with self._writing, asyncio.timeout(PATIENCE):
                    await pipeline.execute()
            except _FAULTS as error:
                self._lost(error)
                return
            for key, ids in batch:
                if self._leaving[key] is ids:  # else more leases have ended meanwhile
                    del self._leaving[key]

    async def _keep(self) -> None:
        """Renew the leases of open exchanges, and try to reach a Redis that is away."""
        loop = asyncio.get_running_loop()
        due = loop.time() + RENEWAL
        # The client may turn a cancellation into a timeout of its own, which is then caught.
        while not self._is_closed:
            await asyncio.sleep(PAUSE)
            if not self.is_reached or loop.time() >= due:
                due = loop.time() + RENEWAL
                await self._renew_all()

    async def _renew_all(self) -> None:
        """Write all leases of open exchanges, also those that Redis never had or lost."""
        ids = list(self._live)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._redis.ping()
            for start in range(0, len(ids), BATCH):
                async with self._writing, asyncio.timeout(PATIENCE):
                    await self._write(ids[start : start + BATCH])
        except _FAULTS as error:
            self._lost(error)
        else:
            self._found()

    async def _write(self, ids: Sequence[str]) -> None:
        live = [self._live[each] for each in ids if each in self._live]
        if live:
            keys = [STREAMS + lease.key for lease in live]
            await self._renew(keys=keys, args=[_milliseconds(LEASE), *(each.id for each in live)])

    def _lost(self, error: Exception) -> None:
        if self.is_reached:
            self.is_reached = False
            log.error("limit_store_unavailable", error=f"redis: {type(error).__name__}")

    def _found(self) -> None:
        if not self.is_reached:
            self.is_reached = True
            log.info("limit_store_available")
            self._begin_to_strike()


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
