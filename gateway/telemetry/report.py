"""What one process tells of itself at a moment, and what several tell together.

Plain data, which can be pickled, and is had without I/O. Nobody changes it once it is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gateway.telemetry.health import Health
from gateway.telemetry.prometheus import Snapshot

# What an exchange waits for: the response head of the upstream, the next byte of the upstream, the
# client to take what is buffered, or the client to take the last of it.
Condition = Literal["waiting", "streaming", "backpressure", "flushing"]


class LiveStream(NamedTuple):
    """An exchange under way. `route` is a pattern, `age` and `silence` are seconds.

    `id` is that of its request, `worker` the number of the process. `events` is None where nobody
    counts them, `silence` where nobody writes down when a byte came.
    """

    id: str
    route: str
    method: str
    subject: str
    client: str
    upstream: str
    age: float
    bytes_in: int
    bytes_out: int
    events: int | None
    silence: float | None
    state: Condition
    worker: int


class UpstreamState(NamedTuple):
    """An upstream of a route. `under_way` are its exchanges, whichever route they came by."""

    url: str
    is_up: bool
    under_way: int


class ServedRoute(NamedTuple):
    """A route that is served, and how its upstreams stand. No `methods` are all of them."""

    path: str
    methods: tuple[str, ...]
    description: str
    upstreams: tuple[UpstreamState, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What is so at one moment in the process of this number, or in all together."""

    worker: int
    snapshot: Snapshot
    health: Health
    routes: tuple[ServedRoute, ...]
    streams: tuple[LiveStream, ...]

    @classmethod
    def merged(cls, reports: Sequence["Report"]) -> "Report":
        """One of several processes, one at least; its streams know whose they are."""
        if len(reports) == 1:
            return reports[0]
        return cls(
            reports[0].worker,
            Snapshot.merged([each.snapshot for each in reports]),
            Health.merged([each.health for each in reports]),
            _merged_routes(reports),
            tuple(stream for each in reports for stream in each.streams),
        )


def _merged_routes(reports: Sequence[Report]) -> tuple[ServedRoute, ...]:
    """Those of the first, in its order, then those that only others serve: after a reload."""
    merged: dict[tuple[str, tuple[str, ...]], ServedRoute] = {}
    for route in (route for report in reports for route in report.routes):
        key = (route.path, route.methods)
        known = merged.get(key)
        merged[key] = route if known is None else known._replace(upstreams=_joined(known, route))
    return tuple(merged.values())


def _joined(one: ServedRoute, other: ServedRoute) -> tuple[UpstreamState, ...]:
    """An upstream is up where it is for both."""
    states = {each.url: each for each in one.upstreams}
    for url, is_up, under_way in other.upstreams:
        known = states.get(url, UpstreamState(url, True, 0))
        states[url] = UpstreamState(url, is_up and known.is_up, under_way + known.under_way)
    return tuple(states.values())
