"""The reports of processes are plain data, and add up to one."""

import pickle

from gateway.config.model import Route, Upstream
from gateway.runtime.status import live_streams, served_routes
from gateway.telemetry.counters import Counters
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.health import Health
from gateway.telemetry.prometheus import Snapshot
from gateway.telemetry.report import (
    Condition,
    LiveStream,
    Report,
    ServedRoute,
    UpstreamState,
)
from gateway.upstream.passive_health import EJECT_AFTER
from gateway.upstream.registry import UpstreamRegistry


class Stalled:
    """A stream that its browser does not take."""

    condition: Condition = "backpressure"

    def end(self, reason: EndReason) -> None: ...

    def record(self) -> Exchange:
        exchange = Exchange("GET", "/jobs/7", "id-1", "", "10.0.0.9")
        exchange.route, exchange.subject, exchange.upstream = "/jobs/{id}", "ann", "http://jobs"
        exchange.bytes_out, exchange.started = 100, exchange.started - 60
        return exchange

    def silence(self) -> float | None:
        return 2.5


def report(worker: int, *routes: ServedRoute) -> Report:
    tally = Counters()
    tally.first_bytes.observe(0.01)
    tally.requests["GET", 200] = tally.bytes_out = 1
    tally.streams["complete"] = tally.upstream_errors["upstream_closed"] = 1
    snapshot = Snapshot({"/jobs/{id}": tally}, {}, {}, {}, "aa")
    return Report(worker, snapshot, Health(1), routes, live_streams([Stalled()], worker))


def route(*upstreams: UpstreamState, path: str = "/jobs/{id}") -> ServedRoute:
    return ServedRoute(path, ("GET",), "", upstreams)


def test_a_stream_is_listed_with_all_that_is_known_and_no_path() -> None:
    [stream] = live_streams([Stalled()], worker=2)
    assert 59 < stream.age < 120
    assert stream._replace(age=60.0) == LiveStream(
        id="id-1",
        route="/jobs/{id}",
        method="GET",
        subject="ann",
        client="10.0.0.9",
        upstream="http://jobs",
        age=60.0,
        bytes_in=0,
        bytes_out=100,
        events=None,
        silence=2.5,
        state="backpressure",
        worker=2,
    )


def test_a_route_is_listed_with_the_state_of_its_upstreams() -> None:
    upstreams = UpstreamRegistry()
    one, other = Upstream("http://a", "http", "a", 80), Upstream("http://b", "http", "b", 80)
    for _ in range(EJECT_AFTER):
        upstreams.pool(other).health.connect_failed(0)
    upstreams.pool(one).health.open_exchanges = 3
    made = Route("/", (), one, frozenset({"PUT", "GET"}), others=(other,), description="Words")
    assert served_routes([made], upstreams) == (
        ServedRoute(
            "/",
            ("GET", "PUT"),
            "Words",
            (UpstreamState(one.url, True, 3), UpstreamState(other.url, False, 0)),
        ),
    )


def test_it_comes_whole_through_a_pipe() -> None:
    reported = report(1, route(UpstreamState("http://jobs", True, 1)))
    again = pickle.loads(pickle.dumps(reported))
    assert (again.worker, again.health, again.routes) == (1, reported.health, reported.routes)
    assert again.streams == reported.streams
    assert list(again.snapshot.collect()) == list(reported.snapshot.collect())


def test_several_are_one_whose_streams_know_whose_they_are() -> None:
    merged = Report.merged([report(0), report(1)])
    assert [stream.worker for stream in merged.streams] == [0, 1]
    assert merged.snapshot.tallies["/jobs/{id}"].requests == {("GET", 200): 2}
    assert merged.snapshot.tallies["/jobs/{id}"].first_bytes.total == 0.02


def test_an_upstream_is_up_where_it_is_for_every_process() -> None:
    merged = Report.merged(
        [
            report(
                0, route(UpstreamState("http://a", True, 1), UpstreamState("http://b", True, 2))
            ),
            report(1, route(UpstreamState("http://a", False, 4)), route(path="/new")),
        ]
    )
    assert merged.routes == (
        route(UpstreamState("http://a", False, 5), UpstreamState("http://b", True, 2)),
        route(path="/new"),
    )


def test_one_alone_is_the_whole() -> None:
    alone = report(0)
    assert Report.merged([alone]) is alone
