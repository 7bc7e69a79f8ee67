"""The quotas of all routes, which outlive a reload, and the limit store behind them."""

from weakref import WeakValueDictionary

from gateway.config.model import Route, RouteLimits
from gateway.limits.local_store import LocalLimitStore
from gateway.limits.quota import LimitStore, Quota


class QuotaRegistry:
    """One quota for each route that has limits, for as long as an exchange or a route uses it.

    With `redis`, a URL, the limits of a user hold over all replicas. A `store` that is given
    decides instead of both.
    """

    def __init__(self, redis: str | None, store: LimitStore | None = None) -> None:
        self._redis = redis
        self._store = store
        self._quotas: WeakValueDictionary[str, Quota] = WeakValueDictionary()

    def of(self, route: Route) -> Quota | None:
        """Returns the quota of a route, with its present limits; None without limits."""
        if route.limits == RouteLimits():
            return None
        name = " ".join([*sorted(route.methods), route.path])
        quota = self._quotas.get(name)
        if quota is None:
            if self._store is None:
                self._store = limit_store(self._redis)
            quota = self._quotas[name] = Quota(name, route.limits, self._store)
        else:
            quota.adopt(route.limits)
        return quota

    def named(self, name: str) -> Quota | None:
        """Returns the quota of this `Quota.route`, while it is in use."""
        return self._quotas.get(name)

    @property
    def is_shared(self) -> bool | None:
        """Whether Redis answered when it was last asked; None where no limits are in Redis."""
        return None if self._store is None else self._store.is_reached

    @property
    def fallbacks(self) -> int | None:
        """How many decisions were made without Redis; None where no limits are in Redis."""
        return None if self._store is None else self._store.fallbacks

    async def close(self) -> None:
        """Close the connections of the store."""
        if self._store is not None:
            await self._store.close()


def limit_store(redis: str | None) -> LimitStore:
    """Returns the store for a process on its own, or for one of several replicas."""
    if redis is None:
        return LocalLimitStore()
    # The client takes a tenth of a second to import, which only its users pay.
    from gateway.limits.redis_store import RedisLimitStore  # noqa: PLC0415

    return RedisLimitStore.at(redis)
