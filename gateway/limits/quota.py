"""What a route's limits leave: how many exchanges may be under way, and how fast new ones come.

A user is the token's subject, or the client's address where there is none.
"""

import math
import random
import time
from hashlib import blake2b
from typing import Protocol

from gateway.config.model import RouteLimits
from gateway.http.errors import RATE_LIMITED, TOO_MANY_STREAMS, Rejection
from gateway.limits.token_bucket import TokenBucket


class Lease:
    """One exchange among those of a user on a route, as all replicas know it.

    `key` names route and user, and tells neither.
    """

    __slots__ = ("id", "key")

    def __init__(self, route: str, user: str) -> None:
        self.key = blake2b(f"{route}\0{user}".encode(), digest_size=16).hexdigest()
        self.id = random.randbytes(12).hex()  # noqa: S311 - unique, not secret


class LimitStore(Protocol):
    """Where all replicas write down who is under way, and how fast they came."""

    async def enter(self, lease: Lease, limits: RouteLimits) -> bool:
        """Let an exchange begin; False where nobody can tell, and the limits hold here alone.

        Raises Refusal TOO_MANY_STREAMS or RATE_LIMITED.
        """

    def leave(self, lease: Lease) -> None:
        """Say that it is over. One that was never let in is no fault."""


class Quota:
    """The limits of one route, and how much of them is used up in this process.

    The counts are exact: there is one for each user who has an exchange under way, and no other.
    """

    def __init__(self, route: str, limits: RouteLimits, store: LimitStore | None) -> None:
        """`route` tells it from others; `store` is None for a replica on its own."""
        self.route = route
        self.limits = limits
        self._store = store
        self._under_way = 0
        self._of_user: dict[str, int] = {}
        self._bucket = _bucket(limits)

    def adopt(self, limits: RouteLimits) -> None:
        """Hold these limits from now on. What is under way counts as before."""
        if (limits.interval, limits.burst) != (self.limits.interval, self.limits.burst):
            self._bucket = _bucket(limits)
        self.limits = limits

    def slot(self, user: str) -> "Slot":
        """What an exchange of this user asks for leave with."""
        return Slot(self, user)

    def count(self, user: str) -> None:
        """Count one more, or raise Refusal TOO_MANY_STREAMS."""
        limits, own = self.limits, self._of_user.get(user, 0)
        if limits.max_streams is not None and self._under_way >= limits.max_streams:
            raise Rejection(TOO_MANY_STREAMS)
        if limits.max_streams_per_user is not None and own >= limits.max_streams_per_user:
            raise too_many(limits.max_streams_per_user)
        self._under_way += 1
        self._of_user[user] = own + 1

    def discount(self, user: str) -> None:
        """Count one less."""
        self._under_way -= 1
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]

    def throttle(self, user: str) -> None:
        """Take one of those that may come by now. Raises Refusal RATE_LIMITED."""
        if self._bucket is not None:
            wait = self._bucket.take(user, time.monotonic_ns())
            if wait:
                raise too_fast(wait)

    def shared(self) -> LimitStore | None:
        """Where the limits are kept that hold for all replicas together, if there are any."""
        limits = self.limits
        is_shared = limits.interval is not None or limits.max_streams_per_user is not None
        return self._store if is_shared else None


class Slot:
    """Leave for one exchange: `take` it, and `release` it however that went."""

    __slots__ = ("_is_counted", "_lease", "_quota", "_user")

    def __init__(self, quota: Quota, user: str) -> None:
        self._quota = quota
        self._user = user
        self._is_counted = False
        self._lease: tuple[LimitStore, Lease] | None = None

    async def acquire(self) -> None:
        """Begin. Raises Refusal TOO_MANY_STREAMS or RATE_LIMITED.

        What is refused for the streams under way does not count for the rate.
        """
        quota = self._quota
        quota.count(self._user)
        self._is_counted = True
        store = quota.shared()
        if store is not None:
            lease = Lease(quota.route, self._user)
            self._lease = (store, lease)
            if await store.enter(lease, quota.limits):
                return
        quota.throttle(self._user)

    def release(self) -> None:
        """It is over, or never began."""
        if self._is_counted:
            self._is_counted = False
            self._quota.discount(self._user)
        if self._lease is not None:
            store, lease = self._lease
            self._lease = None
            store.leave(lease)


def too_many(most: int) -> Rejection:
    """Say that a user has as many exchanges under way as allowed."""
    return Rejection(
        TOO_MANY_STREAMS, f"You have as many streams open here as you may, {most}: close one."
    )


def too_fast(wait: float) -> Rejection:
    """Say that a user came too soon, by `wait` seconds."""
    return Rejection(RATE_LIMITED, headers=(("Retry-After", str(math.ceil(wait))),))


def _bucket(limits: RouteLimits) -> TokenBucket | None:
    return None if limits.interval is None else TokenBucket(limits.interval, limits.burst)
