"""Counters of one route: plain numbers, increased once when an exchange ends.

How they are rendered is in `prometheus`. A request costs a few additions in compiled code. The
counters of the metrics library take a lock each.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from gateway.telemetry.exchange import EndReason, Exchange

# Upper bounds, in seconds. They separate a fast upstream from a slow one, and a slow one from one
# that reaches the default timeouts of 30 s.
_UNDER_A_SECOND: tuple[float, ...] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
LATENCY: tuple[float, ...] = (*_UNDER_A_SECOND, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Life of streams, from one that ended at once to one of a day.
LIFE: tuple[float, ...] = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)

# RFC 9110 9.1 and RFC 5789. Any other method is `other`, so that no client can create series.
METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
OTHER_METHOD: Final = "other"

# End reasons that are failures of the upstream after the head. Before the head, the rejection has a
# code.
_BREAKS: Final = {
    EndReason.UPSTREAM_CLOSED: "upstream_closed",
    EndReason.UPSTREAM_TIMEOUT: "upstream_timeout",
}


class Histogram:
    """Counts of values, in seconds, for each bound: above the bound before and up to this one.

    The last of `counts` has the values above all bounds.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how to pickle it, because a compiled class does not know by itself."""
        return _histogram, (self.bounds, self.counts, self.total)

    def copy(self) -> "Histogram":
        """Returns a copy of the present counts."""
        copy = Histogram(self.bounds)
        copy.counts, copy.total = self.counts.copy(), self.total
        return copy

    def observe(self, seconds: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def merge(self, other: "Histogram") -> None:
        """Count what another with the same bounds has counted."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Counters:
    """The counters of one route since the start. `requests` are by method and status.

    `active` counts open streams and WebSockets, in a copy that they were added to.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.durations = Histogram(LATENCY)  # of all exchanges but streams
        self.first_bytes = Histogram(LATENCY)
        self.stream_durations = Histogram(LIFE)
        self.streams: dict[str, int] = {}  # by end reason
        self.upstream_errors: dict[str, int] = {}  # by code
        self.active = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.events: int | None = None  # None if no events are counted

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how to pickle it, see `Histogram`."""
        histograms = (self.durations, self.first_bytes, self.stream_durations)
        counts = (self.requests, self.streams, self.upstream_errors)
        numbers = (self.active, self.bytes_in, self.bytes_out, self.events)
        return _tally, (histograms, counts, numbers)

    def add(self, exchange: Exchange, now: float) -> None:
        """Count an exchange that ends now, by `time.monotonic`."""
        method = exchange.method if exchange.method in METHODS else OTHER_METHOD
        _count(self.requests, (method, exchange.status))
        duration = now - exchange.started
        self._add_first_byte(exchange)
        if exchange.is_stream:
            self.stream_durations.observe(duration)
            _add(self.streams, str(exchange.ending))
        else:
            self.durations.observe(duration)
        code = upstream_code(exchange)
        if code:
            _add(self.upstream_errors, code)
        self._add_relayed(exchange)

    def add_live(self, exchange: Exchange) -> None:
        """Count an open exchange.

        Its first byte is counted too, because that of a stream would otherwise come hours late.
        """
        self.active += exchange.is_stream
        self._add_first_byte(exchange)
        self._add_relayed(exchange)

    def copy(self) -> "Counters":
        """Returns a copy of the present counts."""
        copy = Counters()
        copy.requests = self.requests.copy()
        copy.durations = self.durations.copy()
        copy.first_bytes = self.first_bytes.copy()
        copy.stream_durations = self.stream_durations.copy()
        copy.streams = self.streams.copy()
        copy.upstream_errors = self.upstream_errors.copy()
        copy.bytes_in, copy.bytes_out, copy.events = self.bytes_in, self.bytes_out, self.events
        return copy

    def merge(self, other: "Counters") -> None:
        """Add the counts of another, with its open streams."""
        for key, count in other.requests.items():
            self.requests[key] = self.requests.get(key, 0) + count
        for reason, count in other.streams.items():
            self.streams[reason] = self.streams.get(reason, 0) + count
        for code, count in other.upstream_errors.items():
            self.upstream_errors[code] = self.upstream_errors.get(code, 0) + count
        self.durations.merge(other.durations)
        self.first_bytes.merge(other.first_bytes)
        self.stream_durations.merge(other.stream_durations)
        self.active += other.active
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        if other.events is not None:
            self.events = other.events + (self.events or 0)

    def _add_first_byte(self, exchange: Exchange) -> None:
        if exchange.first_byte_at is not None:
            self.first_bytes.observe(exchange.first_byte_at - exchange.started)

    def _add_relayed(self, exchange: Exchange) -> None:
        self.bytes_in += exchange.bytes_in
        self.bytes_out += exchange.bytes_out
        if exchange.events is not None:
            self.events = exchange.events + (self.events or 0)


def upstream_code(exchange: Exchange) -> str:
    """Returns how the upstream failed an exchange, or "" if it did not."""
    if exchange.code:
        return exchange.code if exchange.code.startswith("upstream_") else ""
    return _BREAKS.get(exchange.ending, "")


def _histogram(bounds: Sequence[float], counts: list[int], total: float) -> Histogram:
    made = Histogram(bounds)
    made.counts, made.total = counts, total
    return made


def _tally(
    histograms: tuple[Histogram, Histogram, Histogram],
    counts: tuple[dict[tuple[str, int], int], dict[str, int], dict[str, int]],
    numbers: tuple[int, int, int, int | None],
) -> Counters:
    made = Counters()
    made.durations, made.first_bytes, made.stream_durations = histograms
    made.requests, made.streams, made.upstream_errors = counts
    made.active, made.bytes_in, made.bytes_out, made.events = numbers
    return made


def _count(counts: dict[tuple[str, int], int], key: tuple[str, int]) -> None:
    counts[key] = counts.get(key, 0) + 1


def _add(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
