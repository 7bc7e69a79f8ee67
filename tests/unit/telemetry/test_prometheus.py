"""The parsers of scrapers read the metrics, whatever the labels contain."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from gateway.telemetry.counters import Counters
from gateway.telemetry.prometheus import Snapshot

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def snapshot(tally: Counters, upstreams: dict[tuple[str, str], bool] | None = None) -> Snapshot:
    return Snapshot(
        {"/jobs/{id}": tally}, {"token_missing": 1}, {"success": 1}, upstreams or {}, ""
    )


@given(st.text())
def test_whatever_a_label_says_it_is_read_as_it_was(text: str) -> None:
    body, _ = snapshot(Counters(), {("/", text): True}).encode("")
    read = parser.text_string_to_metric_families(body.decode())
    [up] = [family for family in read if family.name == "gateway_upstream_up"]
    assert [(each.labels["upstream"], each.value) for each in up.samples] == [(text, 1)]


def test_a_scraper_that_asks_for_open_metrics_gets_the_same() -> None:
    tally = Counters()
    tally.requests["GET", 200] = 1
    tally.streams["complete"] = tally.upstream_errors["upstream_closed"] = tally.events = 1
    for histogram in (tally.durations, tally.first_bytes, tally.stream_durations):
        histogram.observe(0.02)
    taken = snapshot(tally, {("/jobs/{id}", "http://jobs"): True})
    body, content_type = taken.encode(OPEN_METRICS)
    assert content_type.startswith("application/openmetrics-text")
    parse = openmetrics_parser.text_string_to_metric_families
    read = {family.name: family for family in parse(body.decode())}  # type: ignore[no-untyped-call]
    for family in taken.collect():
        assert [(each.name, each.labels, each.value) for each in read[family.name].samples] == [
            (each.name, each.labels, each.value) for each in family.samples
        ]


def test_the_bounds_of_a_histogram_are_written_as_prometheus_writes_them() -> None:
    tally = Counters()
    tally.stream_durations.observe(2)
    body, _ = snapshot(tally).encode("")
    assert b'_bucket{le="0.1",route="/jobs/{id}"} 0.0' in body
    assert b'_bucket{le="86400.0",route="/jobs/{id}"} 1.0' in body


def test_reports_of_several_processes_are_added_up_but_for_what_holds_for_all() -> None:
    one, other = Counters(), Counters()
    one.requests["GET", 200] = 2
    other.requests["GET", 200], other.requests["GET", 404] = 3, 1
    other.events = 4
    place, away = ("/jobs/{id}", "http://jobs"), ("/", "http://away")
    merged = Snapshot.merged(
        [
            Snapshot({"/jobs/{id}": one}, {"a": 1}, {"success": 1}, {place: True}, "aa", 2, True),
            Snapshot(
                {"/jobs/{id}": other, "/": Counters()},
                {"a": 2},
                {"success": 1},
                {place: False, away: True},
                "aa",
                1,
                False,
            ),
        ]
    )
    reported = {
        (each.name, *each.labels.values()): each.value
        for family in merged.collect()
        for each in family.samples
    }
    assert reported["gateway_requests_total", "/jobs/{id}", "GET", "200"] == 5
    assert reported["gateway_requests_total", "/jobs/{id}", "GET", "404"] == 1
    assert reported["gateway_relayed_events_total", "/jobs/{id}"] == 4
    assert ("gateway_relayed_events_total", "/") not in reported
    assert reported["gateway_active_streams", "/"] == 0
    assert reported["gateway_auth_failures_total", "a"] == 3
    assert reported["gateway_config_reloads_total", "success"] == 2
    assert reported["gateway_upstream_up", *place] == 0
    assert reported["gateway_upstream_up", *away] == 1
    assert reported["gateway_config_info", "aa"] == 1
    assert reported["gateway_limits_fallbacks_total",] == 3
    assert reported["gateway_limits_shared",] == 0


def test_what_a_supervisor_alone_knows_is_reported_once() -> None:
    own = Snapshot({}, {}, {}, {}, "aa", workers=2, restarts={"exited": 1, "hung": 2})
    reported = {
        (each.name, *each.labels.values()): each.value
        for family in Snapshot.merged([own, snapshot(Counters())]).collect()
        for each in family.samples
    }
    assert reported["gateway_workers",] == 2
    assert reported["gateway_worker_restarts_total", "exited"] == 1
    assert reported["gateway_worker_restarts_total", "hung"] == 2
