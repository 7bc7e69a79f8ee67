"""The pools and the health checks of all upstreams, which outlive a reload."""

import ssl
from collections.abc import Iterable, Iterator

from gateway.config.model import HealthCheck, Route, Upstream
from gateway.dns import Resolver
from gateway.open_files import OpenFiles
from gateway.upstream.health_check import HealthChecker
from gateway.upstream.pool import Pool


class UpstreamRegistry:
    """The pools of all upstreams and their health checks, which routes with the same one share.

    Certificates are verified against the system's trust store.
    """

    def __init__(self, files: OpenFiles | None = None, resolver: Resolver | None = None) -> None:
        self._files = files or OpenFiles()
        self._resolver = resolver or Resolver()
        self._pools: dict[Upstream, Pool] = {}
        self._checks: dict[tuple[Upstream, HealthCheck], HealthChecker] = {}
        self._tls: ssl.SSLContext | None = None

    def pool(self, upstream: Upstream) -> Pool:
        """Returns the pool of an upstream, made at its first use."""
        pool = self._pools.get(upstream)
        if pool is None:
            if upstream.scheme == "https" and self._tls is None:
                self._tls = ssl.create_default_context()
            pool = self._pools[upstream] = Pool(upstream, self._tls, self._files, self._resolver)
        return pool

    def keep(self, upstreams: Iterable[Upstream]) -> None:
        """Close the pools of all other upstreams, which no new request uses."""
        for upstream in self._pools.keys() - set(upstreams):
            self._pools.pop(upstream).close()

    def check(self, upstream: Upstream, settings: HealthCheck) -> HealthChecker:
        """Returns the health check of an upstream, which does nothing before `watch`."""
        check = self._checks.get((upstream, settings))
        if check is None:
            connect = self.pool(upstream).connect
            check = self._checks[upstream, settings] = HealthChecker(upstream, settings, connect)
        return check

    def watch(self, routes: Iterable[Route]) -> None:
        """Check the upstreams of these routes from now on, and no others.

        The state of those that are checked already is kept.
        """
        wanted = {
            (upstream, route.health_check)
            for route in routes
            if route.health_check is not None
            for upstream in route.upstreams
        }
        for key in self._checks.keys() - wanted:
            self._checks.pop(key).stop()
        for upstream, settings in wanted:
            self.check(upstream, settings).start()

    def is_healthy(self, upstream: Upstream, route: Route) -> bool:
        """Whether the health check of a route, if it has one, allows requests to this upstream."""
        settings = route.health_check
        check = None if settings is None else self._checks.get((upstream, settings))
        return check is None or check.is_up

    def states(self, routes: Iterable[Route]) -> Iterator[tuple[Route, Upstream, bool]]:
        """Yields whether each upstream of each route is up: healthy, and accepting connections."""
        for route in routes:
            for upstream in route.upstreams:
                is_failing = self.pool(upstream).health.is_failing
                yield route, upstream, self.is_healthy(upstream, route) and not is_failing

    def close(self) -> None:
        """Close every idle connection, and stop all checks."""
        self.watch(())
        for pool in self._pools.values():
            pool.close()
