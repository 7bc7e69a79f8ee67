"""The status report of one process, and of several together.

It is plain data that can be pickled, is made without I/O, and is never changed.
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
    """An open exchange. `route` is a pattern; `age` and `silence` are in seconds.

    `id` is the id of its request, `worker` the number of the process. `events` is None if no events
    are counted, and `silence` if no timeout records when a byte came.
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
    """An upstream of a route. `under_way` counts its open exchanges, of all routes."""

    url: str
    is_up: bool
    under_way: int


class ServedRoute(NamedTuple):
    """A route and the state of its upstreams. Without `methods` it accepts all."""

    path: str
    methods: tuple[str, ...]
    description: str
    upstreams: tuple[UpstreamState, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The state of the process with this number at one moment, or of all together."""

    worker: int
    snapshot: Snapshot
    health: Health
    routes: tuple[ServedRoute, ...]
    streams: tuple[LiveStream, ...]

    @classmethod
    def merged(cls, reports: Sequence["Report"]) -> "Report":
        """Returns the report of several processes together, at least one."""
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
    """Returns the routes of the first report, then those that only others serve after a reload."""
    merged: dict[tuple[str, tuple[str, ...]], ServedRoute] = {}
    for route in (route for report in reports for route in report.routes):
        key = (route.path, route.methods)
        known = merged.get(key)
        merged[key] = route if known is None else known._replace(upstreams=_joined(known, route))
    return tuple(merged.values())


def _joined(one: ServedRoute, other: ServedRoute) -> tuple[UpstreamState, ...]:
    """Returns the upstreams of both: one is up if it is up for both."""
    states = {each.url: each for each in one.upstreams}
    for url, is_up, under_way in other.upstreams:
        known = states.get(url, UpstreamState(url, True, 0))
        states[url] = UpstreamState(url, is_up and known.is_up, under_way + known.under_way)
    return tuple(states.values())
