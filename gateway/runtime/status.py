"""The counters of a gateway since its start, over all its configurations, and its report.

`Counters` counts for each route when an exchange ends. Open exchanges are added when a scrape
comes. So a request pays for no lock and no label, a chunk for nothing, and a long stream shows its
bytes while it lasts.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from gateway.config.model import Config, Route
from gateway.http.errors import (
    ORIGIN_DENIED,
    SCOPE_MISSING,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    TOKEN_MISSING,
)
from gateway.limits.registry import QuotaRegistry
from gateway.proxy.active_exchanges import ActiveExchanges, Stream
from gateway.server.admission import Admission
from gateway.telemetry.counters import Counters
from gateway.telemetry.exchange import Exchange
from gateway.telemetry.logging import log_lines_dropped
from gateway.telemetry.prometheus import Snapshot
from gateway.telemetry.report import LiveStream, ServedRoute, UpstreamState
from gateway.upstream.registry import UpstreamRegistry

ReloadResult = Literal["success", "failure"]

NO_ROUTE: Final = "none"  # of requests that no route matched; a pattern begins with a slash
_AUTH: Final = (TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, SCOPE_MISSING, ORIGIN_DENIED)


class Metrics:
    """The counters of one process. `streams` are the open exchanges.

    `admission` counts rejected connections.
    """

    def __init__(
        self,
        streams: ActiveExchanges,
        upstreams: UpstreamRegistry,
        quotas: QuotaRegistry,
        admission: Admission,
    ) -> None:
        self._streams = streams
        self._upstreams = upstreams
        self._quotas = quotas
        self._admission = admission
        self._routes: tuple[Route, ...] = ()
        self._tallies: defaultdict[str, Counters] = defaultdict(Counters)
        self._auth_failures = {failure.code: 0 for failure in _AUTH}
        self._reloads: dict[str, int] = {"success": 0, "failure": 0}
        self._digest = ""

    def ended(self, exchange: Exchange, now: float) -> None:
        """Count an exchange that ends now, by `time.monotonic`. Its route is a pattern or ""."""
        self._tallies[exchange.route or NO_ROUTE].add(exchange, now)
        if exchange.code in self._auth_failures:
            self._auth_failures[exchange.code] += 1

    def serves(self, config: Config) -> None:
        """Serve this configuration from now on; its routes have series at once."""
        self._digest, self._routes = config.digest, config.routes
        for route in config.routes:
            self._tallies[route.path]

    def reloaded(self, result: ReloadResult) -> None:
        """Count a load of a configuration: at the start, and each reload."""
        self._reloads[result] += 1

    def snapshot(self) -> Snapshot:
        """Returns the present counters, including open exchanges."""
        tallies = defaultdict(Counters, {name: each.copy() for name, each in self._tallies.items()})
        for exchange in self._streams.records():
            tallies[exchange.route or NO_ROUTE].add_live(exchange)
        states = self._upstreams.states(self._routes)
        return Snapshot(
            tallies,
            self._auth_failures.copy(),
            self._reloads.copy(),
            {(route.path, upstream.url): is_up for route, upstream, is_up in states},
            self._digest,
            self._quotas.fallbacks,
            self._quotas.is_shared,
            log_lines_dropped=log_lines_dropped(),
            connections_rejected=self._admission.rejected,
        )


def live_streams(streams: Iterable[Stream], worker: int) -> tuple[LiveStream, ...]:
    """Returns what is known of each open exchange."""
    now = time.monotonic()
    return tuple(_live(stream, now, worker) for stream in streams)


def served_routes(routes: Iterable[Route], upstreams: UpstreamRegistry) -> tuple[ServedRoute, ...]:
    """Returns each route with the state of its upstreams."""
    return tuple(
        ServedRoute(
            route.path,
            tuple(sorted(route.methods)),
            route.description,
            tuple(
                UpstreamState(upstream.url, is_up, upstreams.pool(upstream).health.open_exchanges)
                for _, upstream, is_up in upstreams.states((route,))
            ),
        )
        for route in routes
    )


def _live(stream: Stream, now: float, worker: int) -> LiveStream:
    exchange = stream.record()
    return LiveStream(
        exchange.request_id,
        exchange.route,
        exchange.method,
        exchange.subject,
        exchange.client,
        exchange.upstream,
        now - exchange.started,
        exchange.bytes_in,
        exchange.bytes_out,
        exchange.events,
        stream.silence(),
        stream.condition,
        worker,
    )


class UpstreamHealth(NamedTuple):
    """The paths of routes by the state of their upstreams. See `Health` for the fields."""

    routes_without: tuple[str, ...]
    routes_degraded: tuple[str, ...]
    required_without: tuple[str, ...]


def upstream_health(routes: Sequence[Route], upstreams: UpstreamRegistry) -> UpstreamHealth:
    """Returns which routes have upstreams that are down."""
    without, degraded = [], []
    for route in routes:
        states = [is_up for _, _, is_up in upstreams.states((route,))]
        if not any(states):
            without.append(route.path)
        elif not all(states):
            degraded.append(route.path)
    required = _required_without(routes, upstreams)
    return UpstreamHealth(tuple(without), tuple(degraded), required)


def _required_without(routes: Sequence[Route], upstreams: UpstreamRegistry) -> tuple[str, ...]:
    """Returns the paths of required routes whose health checks find no healthy upstream."""
    return tuple(
        route.path
        for route in routes
        if route.health_check is not None and route.health_check.required
        if not any(upstreams.is_healthy(upstream, route) for upstream in route.upstreams)
    )
