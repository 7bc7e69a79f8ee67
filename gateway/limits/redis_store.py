"""The limit store of several replicas: counts of this process, and leases in Redis."""

from typing import Protocol

from gateway.config.model import RouteLimits
from gateway.limits.local_store import count, discount
from gateway.limits.quota import Slot
from gateway.limits.redis_leases import Lease, RedisLeases


class Leases(Protocol):
    """What all replicas know of the open exchanges and of the rates of the users."""

    is_reached: bool
    fallbacks: int

    async def enter(self, lease: Lease, limits: RouteLimits) -> bool:
        """Returns whether the replicas could decide. Raises Rejection if they decided against."""

    def leave(self, lease: Lease) -> None:
        """Give a lease back. A lease that was never granted is ignored."""

    async def close(self) -> None:
        """Give all leases back that are over, and close the connections."""


class RedisLimitStore:
    """Holds the limits of a user over all replicas, and those of a route in each process.

    While Redis cannot be reached, the rate holds in each process alone.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    @classmethod
    def at(cls, url: str) -> "RedisLimitStore":
        """Returns the store in the Redis at this URL."""
        return cls(RedisLeases(url))

    @property
    def is_reached(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._leases.is_reached

    @property
    def fallbacks(self) -> int:
        """How many decisions were made without Redis."""
        return self._leases.fallbacks

    async def enter(self, slot: Slot) -> None:
        """Let an exchange begin. See `LimitStore`."""
        count(slot)
        quota = slot.quota
        if _is_shared(quota.limits):
            lease = slot.lease = Lease(quota.route, slot.user)
            if await self._leases.enter(lease, quota.limits):
                return
        quota.throttle(slot.user)

    def leave(self, slot: Slot) -> None:
        """Record that an exchange is over. See `LimitStore`."""
        discount(slot)
        lease, slot.lease = slot.lease, None
        if isinstance(lease, Lease):
            self._leases.leave(lease)

    async def close(self) -> None:
        """Give all leases back that are over, and close the connections."""
        await self._leases.close()


def _is_shared(limits: RouteLimits) -> bool:
    """Whether a route has a limit for each user: `max_streams` holds in each process."""
    return limits.interval is not None or limits.max_streams_per_user is not None
