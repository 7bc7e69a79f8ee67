"""The text that is told is read by the scrapers' own parsers, whatever stands in it."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from gateway.exposition import Snapshot
from gateway.tally import Tally

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def snapshot(tally: Tally, upstreams: dict[tuple[str, str], bool] | None = None) -> Snapshot:
    return Snapshot(
        {"/jobs/{id}": tally}, {"token_missing": 1}, {"success": 1}, upstreams or {}, ""
    )


@given(st.text())
def test_whatever_a_label_says_it_is_read_as_it_was(text: str) -> None:
    body, _ = snapshot(Tally(), {("/", text): True}).encode("")
    read = parser.text_string_to_metric_families(body.decode())
    [up] = [family for family in read if family.name == "gateway_upstream_up"]
    assert [(each.labels["upstream"], each.value) for each in up.samples] == [(text, 1)]


def test_a_scraper_that_asks_for_open_metrics_gets_the_same() -> None:
    tally = Tally()
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
    tally = Tally()
    tally.stream_durations.observe(2)
    body, _ = snapshot(tally).encode("")
    assert b'_bucket{le="0.1",route="/jobs/{id}"} 0.0' in body
    assert b'_bucket{le="86400.0",route="/jobs/{id}"} 1.0' in body
