"""The upstreams of a route, and which one gets the next request. It does no I/O.

A failed health check rules an upstream out. If all are ruled out, the request is rejected. An
ejection rules an upstream out only while the route has another one, because only a trial shows that
a service is back. So a route with one upstream always tries it.
"""

import time
from collections.abc import Callable, Collection, Sequence
from math import ceil

from gateway.config.model import Balance, Route, Upstream
from gateway.http.errors import UPSTREAM_UNHEALTHY, Rejection
from gateway.upstream.health_check import HealthChecker
from gateway.upstream.pool import Pool
from gateway.upstream.registry import UpstreamRegistry


class Candidate:
    """An upstream of a route that may be chosen. `base` and `host` begin its requests."""

    def __init__(self, upstream: Upstream, pool: Pool, check: HealthChecker | None = None) -> None:
        self.url = upstream.url
        self.base = upstream.base_path.encode()
        self.host = upstream.authority.encode()
        self.pool = pool
        self.health = pool.health
        self._check = check

    @property
    def is_up(self) -> bool:
        """Whether its health check, if it has one, allows requests."""
        return self._check is None or self._check.is_up


class LoadBalancer:
    """The upstreams of one route. `retry_after` goes into rejections, in seconds."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        balance: Balance = "round_robin",
        *,
        retry_after: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.candidates = tuple(candidates)
        self.is_alone = len(self.candidates) == 1
        self._is_by_load = balance == "least_streams"
        self._retry_after = max(1, ceil(retry_after))
        self._clock = clock
        self._turn = 0

    @classmethod
    def of(cls, route: Route, upstreams: UpstreamRegistry) -> "LoadBalancer":
        """Returns the load balancer of a route."""
        check = route.health_check
        candidates = [
            Candidate(
                upstream,
                upstreams.pool(upstream),
                None if check is None else upstreams.check(upstream, check),
            )
            for upstream in route.upstreams
        ]
        return cls(candidates, route.balance, retry_after=check.interval if check else 1.0)

    def pick(self, tried: Collection[Candidate] = ()) -> Candidate:
        """Returns the upstream for a request: one that was not `tried`, if a healthy one is left.

        Raises Rejection UPSTREAM_UNHEALTHY.
        """
        if self.is_alone:
            candidate = self.candidates[0]
            if candidate.is_up:
                return candidate
        now = self._clock()
        candidate = self._choose(self._candidates(now, tried))
        candidate.health.begin_attempt(now)
        return candidate

    def _candidates(self, now: float, tried: Collection[Candidate]) -> list[Candidate]:
        """Candidates: healthy, not ejected, not tried yet; if there are none, any healthy one."""
        up = [candidate for candidate in self.candidates if candidate.is_up]
        if not up:
            headers = (("Retry-After", str(self._retry_after)),)
            raise Rejection(UPSTREAM_UNHEALTHY, headers=headers, reason="health_check")
        fit = [candidate for candidate in up if not candidate.health.is_ejected(now)] or up
        return [candidate for candidate in fit if candidate not in tried] or fit

    def _choose(self, fit: list[Candidate]) -> Candidate:
        """Chooses in turn; with `least_streams`, among those with the fewest open exchanges."""
        if self._is_by_load:
            least = min(candidate.health.open_exchanges for candidate in fit)
            fit = [candidate for candidate in fit if candidate.health.open_exchanges == least]
        self._turn += 1
        return fit[self._turn % len(fit)]
