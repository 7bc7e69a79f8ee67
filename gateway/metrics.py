"""What a scraper is told (Prometheus text format, or OpenMetrics where it is asked for).

The numbers are kept by `Tally`, one for each route, and read when a scrape comes; what is still
under way is added then. So a request pays for no lock and no label, a chunk for nothing, and a
stream of hours shows its bytes while it goes on. What several processes tell can be added up,
series by series, but for `gateway_upstream_up`, `gateway_config_info` and the process's own.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final, Literal

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.account import Exchange
from gateway.errors import (
    ORIGIN_DENIED,
    SCOPE_MISSING,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    TOKEN_MISSING,
)
from gateway.streams import Streams
from gateway.tally import Histogram, Tally

Reload = Literal["success", "failure"]

NO_ROUTE: Final = "none"  # the route of a request that none matched; a pattern begins with a slash
_AUTH: Final = (TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, SCOPE_MISSING, ORIGIN_DENIED)


class Metrics(Collector):
    """One gateway's numbers, from its start on, over every configuration that it has had."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self._auth_failures = {failure.code: 0 for failure in _AUTH}
        self._reloads: dict[Reload, int] = {"success": 0, "failure": 0}
        self._upstreams: dict[tuple[str, str], bool] = {}
        self._digest = ""
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def ended(self, exchange: Exchange, now: float) -> None:
        """Count an exchange that ends now, by `time.monotonic`. Its route is a pattern or ""."""
        self._tallies[exchange.route].add(exchange, now)
        if exchange.code in self._auth_failures:
            self._auth_failures[exchange.code] += 1

    def upstream_is(self, route: str, upstream: str, *, up: bool) -> None:
        """Say whether an upstream of a route takes requests, as far as is known."""
        self._upstreams[route, upstream] = up

    def forget_upstreams(self) -> None:
        """Say that other upstreams take the place of those that were told of."""
        self._upstreams.clear()

    def reloaded(self, result: Reload, digest: str = "") -> None:
        """Say that a configuration was read: at the start, and each time after that.

        The digest is that of the file which is served from now on; a failure changes none.
        """
        self._reloads[result] += 1
        if result == "success":
            self._digest = digest

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its Content-Type, in a format that the scraper's Accept header names."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not look for names told twice, as nobody else has these."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family. What is under way counts with what has ended."""
        tallies = {route or NO_ROUTE: tally for route, tally in self._tallies.items()}
        yield from _of_requests(tallies)
        yield from _of_streams(tallies)
        yield from _of_bytes(tallies, self._streams.records())
        yield _counter(
            "auth_failures",
            "Requests refused for their token or its lack, a scope or an origin, by code.",
            ["code"],
            {(code,): count for code, count in self._auth_failures.items()},
        )
        yield from self._of_upstreams(tallies)
        yield from self._of_configuration()

    def _of_upstreams(self, tallies: Mapping[str, Tally]) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "gateway_upstream_up",
            "Whether an upstream takes requests (1) or not (0), where that is watched.",
            labels=["route", "upstream"],
        )
        for labels, is_up in self._upstreams.items():
            up.add_metric(labels, is_up)
        yield up
        yield _counter(
            "upstream_errors",
            "Exchanges that the service failed, before or after its response head, by code.",
            ["route", "code"],
            {
                (route, code): count
                for route, tally in tallies.items()
                for code, count in tally.upstream_errors.items()
            },
        )

    def _of_configuration(self) -> Iterator[Metric]:
        yield _counter(
            "config_reloads",
            "Times that routes.yaml was read, the start included, by result.",
            ["result"],
            {(result,): count for result, count in self._reloads.items()},
        )
        info = InfoMetricFamily("gateway_config", "The routes.yaml that is served.")
        info.add_metric([], {"sha256": self._digest})
        yield info


def _of_requests(tallies: Mapping[str, Tally]) -> Iterator[Metric]:
    yield _counter(
        "requests",
        "Requests that ended, by the status they got: 0 where none was sent.",
        ["route", "method", "status"],
        {
            (route, method, str(status)): count
            for route, tally in tallies.items()
            for (method, status), count in tally.requests.items()
        },
    )
    yield _histogram(
        "request_duration_seconds",
        "From a request's arrival to the last byte of its response; event streams left out.",
        {route: tally.durations for route, tally in tallies.items()},
    )
    yield _histogram(
        "first_byte_seconds",
        "From a request's arrival to the head of the service's response, event streams too.",
        {route: tally.first_bytes for route, tally in tallies.items()},
    )


def _of_streams(tallies: Mapping[str, Tally]) -> Iterator[Metric]:
    yield _counter(
        "streams",
        "Event streams that began and have ended, by why.",
        ["route", "end_reason"],
        {
            (route, reason): count
            for route, tally in tallies.items()
            for reason, count in tally.streams.items()
        },
    )
    yield _histogram(
        "stream_duration_seconds",
        "From the arrival of a request for an event stream to the end of the stream.",
        {route: tally.stream_durations for route, tally in tallies.items()},
    )


def _of_bytes(tallies: Mapping[str, Tally], live: Iterable[Exchange]) -> Iterator[Metric]:
    relayed: dict[tuple[str, ...], int] = {
        (route, direction): count
        for route, tally in tallies.items()
        for direction, count in (("in", tally.bytes_in), ("out", tally.bytes_out))
    }
    events: dict[tuple[str, ...], int] = {
        (route,): tally.events for route, tally in tallies.items() if tally.events is not None
    }
    active = {(route,): 0 for route in tallies}
    for exchange in live:
        route = exchange.route
        active[route,] = active.get((route,), 0) + exchange.is_event_stream
        for direction, count in (("in", exchange.bytes_in), ("out", exchange.bytes_out)):
            relayed[route, direction] = relayed.get((route, direction), 0) + count
        if exchange.events is not None:
            events[route,] = events.get((route,), 0) + exchange.events
    under_way = GaugeMetricFamily(
        "gateway_active_streams", "Event streams under way.", labels=["route"]
    )
    for labels, count in active.items():
        under_way.add_metric(labels, count)
    yield under_way
    yield _counter(
        "relayed_bytes",
        "Bytes of bodies: in from clients to services, out from services to clients.",
        ["route", "direction"],
        relayed,
    )
    yield _counter(
        "relayed_events",
        "Events of event streams, on routes whose streams are followed (heartbeat, error_event).",
        ["route"],
        events,
    )


def _counter(
    name: str, text: str, labels: list[str], counts: Mapping[tuple[str, ...], int]
) -> CounterMetricFamily:
    """A counter that is told as gateway_NAME_total."""
    family = CounterMetricFamily(f"gateway_{name}", text, labels=labels)
    for key, count in counts.items():
        family.add_metric(key, count)
    return family


def _histogram(name: str, text: str, routes: Mapping[str, Histogram]) -> HistogramMetricFamily:
    """A histogram by route; of those that nothing was observed on it tells none."""
    family = HistogramMetricFamily(f"gateway_{name}", text, labels=["route"])
    for route, histogram in routes.items():
        bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        if buckets[-1][1]:
            family.add_metric([route], buckets, histogram.total)
    return family
