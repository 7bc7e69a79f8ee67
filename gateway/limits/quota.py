"""The limits of one route, and what is used of them in this process.

A user is the subject of the token, or the address of the client where there is no token.
"""

import math
import time
from itertools import count
from typing import Protocol

from gateway.config.model import RouteLimits
from gateway.http.errors import RATE_LIMITED, TOO_MANY_STREAMS, Rejection
from gateway.limits.token_bucket import TokenBucket

_ids = count(1)


class LimitStore(Protocol):
    """Decides whether an exchange may begin, by all open exchanges that the store knows.

    `is_reached` and `fallbacks` are None for a store that needs nothing outside of the process:
    whether the store answered when it was last asked, and how many decisions were made without it.
    """

    @property
    def is_reached(self) -> bool | None:
        """Whether the store answered when it was last asked."""

    @property
    def fallbacks(self) -> int | None:
        """How many decisions were made without the store."""

    async def enter(self, slot: "Slot") -> None:
        """Let an exchange begin. Raises Rejection TOO_MANY_STREAMS or RATE_LIMITED.

        An exchange that is rejected for the open exchanges does not count for the rate.
        """

    def leave(self, slot: "Slot") -> None:
        """Record that an exchange is over, or that it was rejected."""

    async def close(self) -> None:
        """Close all connections of the store."""


class Quota:
    """The limits of one route, with counts of its open exchanges and of its rate.

    The counts are exact: there is one for each user who has an open exchange, and no other.
    `store` decides about new exchanges.
    """

    def __init__(self, route: str, limits: RouteLimits, store: LimitStore) -> None:
        """`route` is a name that no other route has."""
        self.route = route
        self.limits = limits
        self.store = store
        self._open = 0
        self._of_user: dict[str, int] = {}
        self._bucket = _bucket(limits)

    def adopt(self, limits: RouteLimits) -> None:
        """Apply these limits from now on. Open exchanges stay counted."""
        if (limits.interval, limits.burst) != (self.limits.interval, self.limits.burst):
            self._bucket = _bucket(limits)
        self.limits = limits

    def slot(self, user: str) -> "Slot":
        """Returns a slot for an exchange of this user, not acquired yet."""
        return Slot(self, user)

    def count(self, user: str) -> None:
        """Count one more open exchange. Raises Rejection TOO_MANY_STREAMS."""
        limits, own = self.limits, self._of_user.get(user, 0)
        if limits.max_streams is not None and self._open >= limits.max_streams:
            raise Rejection(TOO_MANY_STREAMS)
        if limits.max_streams_per_user is not None and own >= limits.max_streams_per_user:
            raise too_many(limits.max_streams_per_user)
        self._open += 1
        self._of_user[user] = own + 1

    def discount(self, user: str) -> None:
        """Count one open exchange less."""
        self._open -= 1
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]

    def throttle(self, user: str) -> None:
        """Take one request off the rate of this user. Raises Rejection RATE_LIMITED."""
        if self._bucket is not None:
            wait = self._bucket.take(user, time.monotonic_ns())
            if wait:
                raise too_fast(wait)


class Slot:
    """A slot under the limits of a route: `acquire` it before an exchange, `release` it after.

    `release` is called whatever the outcome. `is_counted` and `lease` belong to the store.
    """

    __slots__ = ("_is_entered", "id", "is_counted", "lease", "quota", "user")

    def __init__(self, quota: Quota, user: str) -> None:
        self.id = next(_ids)
        self.quota = quota
        self.user = user
        self.is_counted = False
        self.lease: object = None
        self._is_entered = False

    async def acquire(self) -> None:
        """Wait for the decision. Raises Rejection, see `LimitStore.enter`."""
        self._is_entered = True
        await self.quota.store.enter(self)

    def release(self) -> None:
        """Free the slot. A slot that was never acquired, or was released, is left alone."""
        if self._is_entered:
            self._is_entered = False
            self.quota.store.leave(self)


def too_many(most: int) -> Rejection:
    """Returns the rejection of a user who has `most` open exchanges on a route."""
    detail = f"You have reached the limit of open streams on this route, {most}: close one."
    return Rejection(TOO_MANY_STREAMS, detail)


def too_fast(wait: float) -> Rejection:
    """Returns the rejection of a request that came `wait` seconds too early."""
    return Rejection(RATE_LIMITED, headers=(("Retry-After", str(math.ceil(wait))),))


def _bucket(limits: RouteLimits) -> TokenBucket | None:
    return None if limits.interval is None else TokenBucket(limits.interval, limits.burst)
