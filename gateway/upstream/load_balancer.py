"""The upstreams of a route, and which of them gets the next request. Without I/O of its own.

Two things keep an upstream from getting one. A health check that says it is down does so whatever
follows: where that is all of them, the request is refused. Connections that failed just now do so
only where there is another upstream, because they tell of a moment, and a service that is back is
found by trying: so a route with one upstream always tries it.
"""

import time
from collections.abc import Callable, Collection, Sequence
from math import ceil

from gateway.config.model import Balance, Route, Upstream
from gateway.http.errors import UPSTREAM_UNHEALTHY, Rejection
from gateway.upstream.health_check import HealthChecker
from gateway.upstream.pool import Pool, UpstreamRegistry


class Place:
    """One upstream of a route. `base` and `host` are what its requests begin with."""

    def __init__(self, upstream: Upstream, pool: Pool, check: HealthChecker | None = None) -> None:
        self.url = upstream.url
        self.base = upstream.base_path.encode()
        self.host = upstream.authority.encode()
        self.pool = pool
        self.health = pool.health
        self._check = check

    @property
    def is_up(self) -> bool:
        """Whether its health check lets it get requests, if there is one."""
        return self._check is None or self._check.is_up


class LoadBalancer:
    """The upstreams of one route. `retry_after` is what a refusal tells the client, in seconds."""

    def __init__(
        self,
        places: Sequence[Place],
        balance: Balance = "round_robin",
        *,
        retry_after: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.places = tuple(places)
        self.is_alone = len(self.places) == 1
        self._is_by_load = balance == "least_streams"
        self._retry_after = max(1, ceil(retry_after))
        self._clock = clock
        self._turn = 0

    @classmethod
    def of(cls, route: Route, upstreams: UpstreamRegistry) -> "LoadBalancer":
        """What a route says."""
        check = route.health_check
        places = [
            Place(
                upstream,
                upstreams.pool(upstream),
                None if check is None else upstreams.check(upstream, check),
            )
            for upstream in route.upstreams
        ]
        return cls(places, route.balance, retry_after=check.interval if check else 1.0)

    def pick(self, tried: Collection[Place] = ()) -> Place:
        """The upstream for a request; another than those it tried, where one is fit.

        Raises Refusal UPSTREAM_UNHEALTHY.
        """
        if self.is_alone:
            place = self.places[0]
            if place.is_up:
                return place
        now = self._clock()
        place = self._choose(self._fit(now, tried))
        place.health.begin_attempt(now)
        return place

    def _fit(self, now: float, tried: Collection[Place]) -> list[Place]:
        """Those to choose from: not tried and not let be, or else the best that there is."""
        up = [place for place in self.places if place.is_up]
        if not up:
            told = (("Retry-After", str(self._retry_after)),)
            raise Rejection(UPSTREAM_UNHEALTHY, headers=told, reason="health_check")
        fit = [place for place in up if not place.health.is_ejected(now)] or up
        return [place for place in fit if place not in tried] or fit

    def _choose(self, fit: list[Place]) -> Place:
        """Each in turn; by load, each in turn of those with the fewest exchanges."""
        if self._is_by_load:
            least = min(place.health.open_exchanges for place in fit)
            fit = [place for place in fit if place.health.open_exchanges == least]
        self._turn += 1
        return fit[self._turn % len(fit)]
