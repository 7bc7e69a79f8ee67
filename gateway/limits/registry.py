"""The quotas of all routes, which outlive a change of the routes, and the ledger behind them."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from gateway.config.model import Route, RouteLimits
from gateway.limits.quota import Quota

if TYPE_CHECKING:
    from gateway.limits.redis_store import RedisLimitStore


class QuotaRegistry:
    """One quota for each route that has limits, for as long as anybody uses it.

    With `redis`, a URL, what users do counts on all replicas together. `make` makes another kind of
    quota, of a route's name and limits.
    """

    def __init__(
        self, redis: str | None, make: Callable[[str, RouteLimits], Quota] | None = None
    ) -> None:
        self._redis = redis
        self._make = make or self._made
        self._store: RedisLimitStore | None = None
        self._quotas: WeakValueDictionary[str, Quota] = WeakValueDictionary()

    def of(self, route: Route) -> Quota | None:
        """The quota of a route, with its limits of now; None for one without."""
        if route.limits == RouteLimits():
            return None
        name = " ".join([*sorted(route.methods), route.path])
        quota = self._quotas.get(name)
        if quota is None:
            quota = self._quotas[name] = self._make(name, route.limits)
        else:
            quota.adopt(route.limits)
        return quota

    def named(self, name: str) -> Quota | None:
        """The quota of this `Quota.route`, while anybody uses it."""
        return self._quotas.get(name)

    @property
    def is_shared(self) -> bool | None:
        """Whether Redis was there when it was last asked; None where no limits are in it."""
        return self._store.is_reached if self._store is not None else None

    @property
    def fallbacks(self) -> int | None:
        """How often limits held in this process alone, as Redis was out of reach; None as above."""
        return self._store.fallbacks if self._store is not None else None

    async def close(self) -> None:
        """Let go of Redis."""
        if self._store is not None:
            await self._store.close()

    def _made(self, name: str, limits: RouteLimits) -> Quota:
        return Quota(name, limits, self._shared())

    def _shared(self) -> "RedisLimitStore | None":
        if self._store is None and self._redis is not None:
            # The client takes a tenth of a second to import, which only those pay who use it.
            from gateway.limits.redis_store import RedisLimitStore  # noqa: PLC0415

            self._store = RedisLimitStore(self._redis)
        return self._store
