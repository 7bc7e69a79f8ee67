"""What is counted of one route: plain numbers, added to once when an exchange ends.

Nothing here knows how they are told; `metrics` does. A request adds to them in compiled code, for
the price of a few additions: the metrics library's own counters take a lock for each.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from gateway.telemetry.exchange import EndReason, Exchange

# Upper bounds, in seconds. A quick service is seen apart from a slow one, and a slow one apart from
# one that runs into the default bounds of 30 s.
_UNDER_A_SECOND: tuple[float, ...] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
LATENCY: tuple[float, ...] = (*_UNDER_A_SECOND, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# A stream's life: from one that broke off at once to one that stayed a day.
LIFE: tuple[float, ...] = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)

# RFC 9110 9.1 and RFC 5789. What a client may make up would be a series of its own each time.
METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
OTHER_METHOD: Final = "other"

# Endings of a response under way that are the service's doing. Before that its refusal has a code.
_BREAKS: Final = {
    EndReason.UPSTREAM_CLOSED: "upstream_closed",
    EndReason.UPSTREAM_TIMEOUT: "upstream_timeout",
}


class Histogram:
    """How often a value, in seconds, was within each bound and over the one before.

    The last of `counts` has what is over all bounds.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def __reduce__(self) -> tuple[object, ...]:
        """How it is pickled: compiled, it does not know by itself."""
        return _histogram, (self.bounds, self.counts, self.total)

    def copy(self) -> "Histogram":
        """What it says now, to keep."""
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
    """One route's numbers since the start. `requests` has them by method and status.

    `active` counts the streams and WebSockets under way, in a copy that they were added to.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.durations = Histogram(LATENCY)  # of all but streams
        self.first_bytes = Histogram(LATENCY)
        self.stream_durations = Histogram(LIFE)
        self.streams: dict[str, int] = {}  # by end reason
        self.upstream_errors: dict[str, int] = {}  # by code
        self.active = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.events: int | None = None  # None where nobody follows them

    def __reduce__(self) -> tuple[object, ...]:
        """How it is pickled, see `Histogram`."""
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
        """Count what can be of an exchange that is still under way.

        Its first byte as well: a stream's would be told hours late.
        """
        self.active += exchange.is_stream
        self._add_first_byte(exchange)
        self._add_relayed(exchange)

    def copy(self) -> "Counters":
        """What it says now, to keep."""
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
        """Add another's numbers, its event streams under way among them."""
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
    """How the service failed an exchange, or "" where it did not."""
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
