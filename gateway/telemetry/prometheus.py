"""Renders the counters of one moment in the Prometheus text format, or in OpenMetrics."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

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

from gateway.telemetry.counters import Counters, Histogram

RestartReason = Literal["exited", "hung"]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Collector):
    """The counters of one moment. It is never changed, so that any thread may read it.

    `tallies` are by route, `auth_failures` by code, `reloads` by result, `connections_rejected` by
    reason. `upstreams` says whether an upstream is up, by route and address. `digest` is that of
    the served file. `fallbacks` and `is_shared` are None without limits in Redis. `workers` counts
    those that answer, and `restarts` is by reason; both are None for a single process.
    """

    tallies: Mapping[str, Counters]
    auth_failures: Mapping[str, int]
    reloads: Mapping[str, int]
    upstreams: Mapping[tuple[str, str], bool]
    digest: str
    fallbacks: int | None = None
    is_shared: bool | None = None
    workers: int | None = None
    restarts: Mapping[RestartReason, int] | None = None
    log_lines_dropped: int = 0
    connections_rejected: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def merged(cls, all_: Sequence["Snapshot"]) -> "Snapshot":
        """Returns the snapshot of several processes together, at least one.

        Counts are added up. An upstream is up if it is up for each process, and limits are shared
        if each process shares them.
        """
        tallies: defaultdict[str, Counters] = defaultdict(Counters)
        for each in all_:
            for route, counters in each.tallies.items():
                tallies[route].merge(counters)
        return cls(
            tallies,
            _summed(each.auth_failures for each in all_),
            _summed(each.reloads for each in all_),
            _up_for_all(each.upstreams for each in all_),
            all_[0].digest,
            _sum(each.fallbacks for each in all_),
            _all(each.is_shared for each in all_),
            _sum(each.workers for each in all_),
            next((each.restarts for each in all_ if each.restarts is not None), None),
            sum(each.log_lines_dropped for each in all_),
            _summed(each.connections_rejected for each in all_),
        )

    def encode(self, accept: str) -> tuple[bytes, str]:
        """Returns the text and its Content-Type, in a format that the Accept header names."""
        registry = CollectorRegistry()
        registry.register(self)
        for process in (ProcessCollector, PlatformCollector, GCCollector):
            process(registry=registry)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def describe(self) -> Iterable[Metric]:
        """Returns nothing: the registry need not check for duplicate names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Returns every metric family of the gateway."""
        yield from _of_requests(self.tallies)
        yield from _of_streams(self.tallies)
        yield from _of_bytes(self.tallies)
        yield _counter(
            "auth_failures",
            "Requests rejected for their token, a scope or an origin, by error code.",
            ["code"],
            {(code,): count for code, count in self.auth_failures.items()},
        )
        yield from _of_upstreams(self.tallies, self.upstreams)
        yield from _of_limits(self.fallbacks, self.is_shared)
        yield _counter(
            "connections_rejected",
            "Rejected client connections, by the limit that was reached.",
            ["reason"],
            {(reason,): count for reason, count in self.connections_rejected.items()},
        )
        yield from _of_workers(self.workers, self.restarts)
        yield _counter(
            "log_lines_dropped",
            "Log lines that were not written, because stdout accepted no more.",
            [],
            {(): self.log_lines_dropped},
        )
        yield _counter(
            "config_reloads",
            "Configuration loads by result, including the first.",
            ["result"],
            {(result,): count for result, count in self.reloads.items()},
        )
        info = InfoMetricFamily("gateway_config", "The routes.yaml that is served.")
        info.add_metric([], {"sha256": self.digest})
        yield info


def _of_requests(tallies: Mapping[str, Counters]) -> Iterator[Metric]:
    yield _counter(
        "requests",
        "Requests that ended, by status; 0 if no response was sent.",
        ["route", "method", "status"],
        {
            (route, method, str(status)): count
            for route, counters in tallies.items()
            for (method, status), count in counters.requests.items()
        },
    )
    yield _histogram(
        "request_duration_seconds",
        "Seconds from a request to the last byte of its response, without streams.",
        {route: counters.durations for route, counters in tallies.items()},
    )
    yield _histogram(
        "first_byte_seconds",
        "Seconds from a request to the head of the upstream's response, streams included.",
        {route: counters.first_bytes for route, counters in tallies.items()},
    )


def _of_streams(tallies: Mapping[str, Counters]) -> Iterator[Metric]:
    yield _counter(
        "streams",
        "Streams and WebSockets that have ended, by end reason.",
        ["route", "end_reason"],
        {
            (route, reason): count
            for route, counters in tallies.items()
            for reason, count in counters.streams.items()
        },
    )
    yield _histogram(
        "stream_duration_seconds",
        "Seconds from the request for a stream or a WebSocket to its end.",
        {route: counters.stream_durations for route, counters in tallies.items()},
    )


def _of_upstreams(
    tallies: Mapping[str, Counters], upstreams: Mapping[tuple[str, str], bool]
) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "gateway_upstream_up",
        "Whether an upstream is healthy (1) or not (0).",
        labels=["route", "upstream"],
    )
    for labels, is_up in upstreams.items():
        up.add_metric(labels, is_up)
    yield up
    yield _counter(
        "upstream_errors",
        "Failed upstream exchanges, by error code.",
        ["route", "code"],
        {
            (route, code): count
            for route, counters in tallies.items()
            for code, count in counters.upstream_errors.items()
        },
    )


def _of_limits(fallbacks: int | None, is_shared: bool | None) -> Iterator[Metric]:
    """Returns nothing if no limits are in Redis."""
    if fallbacks is not None:
        text = "Requests decided by the limits of this replica alone, because Redis was away."
        yield _counter("limits_fallbacks", text, [], {(): fallbacks})
    if is_shared is not None:
        text = "Whether limits hold over all replicas (1), or in each alone (0)."
        yield GaugeMetricFamily("gateway_limits_shared", text, value=is_shared)


def _of_workers(
    workers: int | None, restarts: Mapping[RestartReason, int] | None
) -> Iterator[Metric]:
    """Returns nothing for a single process."""
    if workers is not None:
        yield GaugeMetricFamily("gateway_workers", "Workers that answer.", value=workers)
    if restarts is not None:
        yield _counter(
            "worker_restarts",
            "Replaced workers, by reason: exited, or hung and killed.",
            ["reason"],
            {(reason,): count for reason, count in restarts.items()},
        )


def _of_bytes(tallies: Mapping[str, Counters]) -> Iterator[Metric]:
    active = GaugeMetricFamily(
        "gateway_active_streams", "Open streams and WebSockets.", labels=["route"]
    )
    for route, counters in tallies.items():
        active.add_metric([route], counters.active)
    yield active
    yield _counter(
        "relayed_bytes",
        "Bytes of bodies: in from clients, out to clients.",
        ["route", "direction"],
        {
            (route, direction): count
            for route, counters in tallies.items()
            for direction, count in (("in", counters.bytes_in), ("out", counters.bytes_out))
        },
    )
    yield _counter(
        "relayed_events",
        "Events of event streams, on routes with heartbeat or error_event.",
        ["route"],
        {
            (route,): counters.events
            for route, counters in tallies.items()
            if counters.events is not None
        },
    )


def _summed(all_: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in all_:
        total.update(each)
    return dict(total)


def _up_for_all(all_: Iterable[Mapping[tuple[str, str], bool]]) -> dict[tuple[str, str], bool]:
    states: dict[tuple[str, str], bool] = {}
    for each in all_:
        for key, is_up in each.items():
            states[key] = is_up and states.get(key, True)
    return states


def _sum(all_: Iterable[int | None]) -> int | None:
    known = [each for each in all_ if each is not None]
    return sum(known) if known else None


def _all(all_: Iterable[bool | None]) -> bool | None:
    known = [each for each in all_ if each is not None]
    return all(known) if known else None


def _counter(
    name: str, text: str, labels: list[str], counts: Mapping[tuple[str, ...], int]
) -> CounterMetricFamily:
    """Returns a counter with the name gateway_NAME_total."""
    family = CounterMetricFamily(f"gateway_{name}", text, labels=labels)
    for key, count in counts.items():
        family.add_metric(key, count)
    return family


def _histogram(name: str, text: str, routes: Mapping[str, Histogram]) -> HistogramMetricFamily:
    """Returns a histogram by route; a route without observations has no series."""
    family = HistogramMetricFamily(f"gateway_{name}", text, labels=["route"])
    for route, histogram in routes.items():
        bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        if buckets[-1][1]:
            family.add_metric([route], buckets, histogram.total)
    return family
