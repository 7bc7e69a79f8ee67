"""Each exchange is counted once, streams apart from all else, and with nothing a client made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.counters import LATENCY, LIFE, Counters, Histogram, upstream_code
from gateway.telemetry.exchange import EndReason, Exchange


def exchange(
    method: str = "GET", status: int = 200, reason: EndReason | None = EndReason.COMPLETE
) -> Exchange:
    made = Exchange(method, "/jobs/7", "id-1", "", "10.0.0.9")
    made.status = status
    if reason is not None:
        made.end(reason)
    return made


def tally_of(*exchanges: Exchange, after: float = 0.0) -> Counters:
    """Count exchanges that all took so many seconds."""
    tally = Counters()
    for each in exchanges:
        tally.add(each, each.started + after)
    return tally


# Histograms


@pytest.mark.parametrize("bounds", [LATENCY, LIFE])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_a_value_is_counted_once_and_below_each_bound_that_holds_it(values: list[float]) -> None:
    histogram = Histogram(LATENCY)
    for value in values:
        histogram.observe(value)
    for at, bound in enumerate(LATENCY):
        assert sum(histogram.counts[: at + 1]) == sum(value <= bound for value in values)
    assert sum(histogram.counts) == len(values)
    assert histogram.total == pytest.approx(sum(values))


# Exchanges


def test_requests_are_counted_by_method_and_status() -> None:
    tally = tally_of(exchange(), exchange(), exchange("POST"), exchange(status=502))
    assert tally.requests == {("GET", 200): 2, ("POST", 200): 1, ("GET", 502): 1}


@given(st.text())
def test_a_method_that_is_made_up_is_no_series_of_its_own(method: str) -> None:
    assert tally_of(exchange(f"X{method}")).requests == {("other", 200): 1}


def test_the_life_of_a_stream_is_not_taken_for_a_request_s_duration() -> None:
    stream = exchange()
    stream.is_stream = True
    stream.first_byte_at = stream.started + 0.02
    tally = tally_of(stream, after=4000)
    assert sum(tally.durations.counts) == 0
    assert tally.stream_durations.total == pytest.approx(4000)
    assert tally.first_bytes.total == pytest.approx(0.02)


def test_what_is_no_stream_has_a_duration_and_no_life() -> None:
    tally = tally_of(exchange(), after=0.5)
    assert tally.durations.total == pytest.approx(0.5)
    assert sum(tally.stream_durations.counts) == 0
    assert tally.streams == {}


def test_the_first_byte_of_a_stream_under_way_counts_before_its_end_and_once() -> None:
    stream = exchange()
    stream.is_stream = True
    stream.first_byte_at = stream.started + 0.02
    live = Counters()
    live.add_live(stream)
    assert (live.active, live.first_bytes.counts) == (1, tally_of(stream).first_bytes.counts)


def test_without_a_response_of_the_service_there_is_no_first_byte() -> None:
    assert sum(tally_of(exchange(status=401)).first_bytes.counts) == 0


@pytest.mark.parametrize("reason", EndReason)
def test_a_stream_is_counted_once_by_why_it_ended(reason: EndReason) -> None:
    stream = exchange(reason=reason)
    stream.is_stream = True
    assert tally_of(stream).streams == {reason.value: 1}


def test_a_stream_without_a_reason_of_its_end_ended_in_an_error() -> None:
    stream = exchange(reason=None)
    stream.is_stream = True
    assert tally_of(stream).streams == {"error": 1}


def test_bytes_and_events_add_up() -> None:
    one, two, unfollowed = exchange(), exchange(), exchange()
    one.bytes_in, one.bytes_out, one.events = 1, 10, 3
    two.bytes_in, two.bytes_out, two.events = 2, 20, 0
    tally = tally_of(one, two, unfollowed)
    assert (tally.bytes_in, tally.bytes_out, tally.events) == (3, 30, 3)


def test_events_that_nobody_follows_are_not_shown_as_none() -> None:
    assert tally_of(exchange()).events is None


# How a service failed


@pytest.mark.parametrize("code", ["upstream_unreachable", "upstream_timeout", "upstream_error"])
def test_a_refusal_for_the_service_s_failure_is_its_error(code: str) -> None:
    failed = exchange(status=502, reason=EndReason.ERROR)
    failed.code = code
    assert upstream_code(failed) == code
    assert tally_of(failed, failed).upstream_errors == {code: 2}


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (EndReason.UPSTREAM_CLOSED, "upstream_closed"),
        (EndReason.UPSTREAM_TIMEOUT, "upstream_timeout"),
        (EndReason.TOTAL_TIMEOUT, ""),
        (EndReason.CLIENT_CLOSED, ""),
        (EndReason.COMPLETE, ""),
    ],
)
def test_a_break_after_the_head_is_the_service_s_error_where_it_broke(
    reason: EndReason, code: str
) -> None:
    assert upstream_code(exchange(reason=reason)) == code


def test_a_refusal_for_the_client_s_failure_is_no_error_of_the_service() -> None:
    refused = exchange(status=401, reason=EndReason.REFUSED)
    refused.code = "token_missing"
    assert tally_of(refused).upstream_errors == {}
