"""Findings are drawn from what was seen, and from nothing that may be as it should."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.probe.findings import findings, hop
from gateway.probe.observation import LAST_EVENT_ID, TRACE_ID, Arrivals, Observation
from gateway.probe.remedies import REMEDIES
from gateway.probe.report import as_json, in_words

SAW = {
    "accept": "text/event-stream",
    "last-event-id": LAST_EVENT_ID,
    "origin": "https://example.org",
    "traceparent": f"00-{TRACE_ID}-0000000000000001-00",
}
HELLO = {
    "gateway": "probe",
    "version": "1.1",
    "query": "token",
    "takes_bearer": True,
    "silence": 60.0,
    "saw": SAW,
    "addresses": 1,
    "is_first": True,
    "is_front_trusted": True,
}
HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "server": "front",
    "transfer-encoding": "chunked",
}
SENT = [0.2 * number for number in range(11)]
GOOD = Arrivals(headers=HEADERS, hello=HELLO, times=tuple((at, 50 + at) for at in SENT))
IDLE = replace(GOOD, times=((0.0, 50.0), (60.2, 110.2)))
FINE = Observation(GOOD, GOOD, GOOD, IDLE, 60.0, "h2")


def codes(seen: Observation) -> set[str]:
    found = findings(seen)
    assert all(finding.code in REMEDIES for finding in found)
    words, data = in_words(seen, found), as_json(seen, found)
    assert all(finding.text in words and finding.code in data for finding in found)
    return {finding.code for finding in found}


def plain(**changes: Any) -> Observation:
    return replace(FINE, plain=replace(GOOD, **changes))


def saw(**changes: str) -> Observation:
    headers = {name.replace("_", "-"): value for name, value in changes.items()}
    return plain(hello={**HELLO, "saw": {**SAW, **headers}})


def test_a_way_that_is_as_it_should_be_has_no_finding() -> None:
    assert codes(FINE) == set()
    assert hop(FINE) == "front"


def test_events_that_come_all_at_the_end_were_held_until_then() -> None:
    seen = plain(times=tuple((at, 52.0) for at in SENT))
    assert codes(seen) == {"buffers"}
    assert "until the stream ended" in in_words(seen, findings(seen))


def test_events_that_come_in_two_heaps_were_held_until_there_were_enough() -> None:
    seen = plain(times=tuple((at, 51.6 if at < 1.5 else 52.0) for at in SENT))
    assert codes(seen) == {"buffers"}
    assert "enough of them" in in_words(seen, findings(seen))


def test_the_first_of_larger_heaps_says_how_much_is_enough() -> None:
    held = plain(times=tuple((at, 52.0) for at in SENT))
    arrivals = [(0.05 * number, 60.0 + number // 8) for number in range(48)]
    seen = replace(held, heavy=replace(GOOD, times=tuple(arrivals)), event_size=1000)
    assert "or some 8 KB of them" in in_words(seen, findings(seen))
    at_once = replace(GOOD, times=tuple((at, 63.0) for at, _ in arrivals))
    seen = replace(held, heavy=at_once, event_size=1000)
    assert "KB" not in in_words(seen, findings(seen))


def test_a_silence_that_no_gateway_was_asked_for_did_not_pass() -> None:
    seen = replace(FINE, idle=replace(IDLE, hello={**HELLO, "silence": 0.0}))
    assert codes(seen) == {"strips_query"}
    assert "could not be tried" in in_words(seen, findings(seen))


def test_a_stream_that_is_lost_without_a_sign_is_reported_as_that() -> None:
    seen = replace(FINE, idle=replace(IDLE, broke_after=76.0, is_hung=True))
    assert codes(seen) == {"cuts_idle"}
    assert "not even its end" in in_words(seen, findings(seen))


def test_a_cut_of_a_lively_stream_too_is_not_for_its_silence() -> None:
    cut = replace(GOOD, broke_after=30.0)
    assert codes(replace(FINE, idle=cut, lively=cut)) == {"cuts"}
    assert codes(replace(FINE, idle=cut, lively=GOOD)) == {"cuts_idle"}


def test_what_a_gateway_does_not_look_at_no_hop_takes_away() -> None:
    refused = replace(GOOD, status=401)
    assert codes(replace(plain(hello={**HELLO, "query": None}), refused=refused)) == set()
    assert codes(replace(plain(hello={**HELLO, "takes_bearer": False}), bearer=refused)) == set()


def test_a_trace_that_breaks_is_reported_and_is_no_fault() -> None:
    [finding] = findings(saw(traceparent="00-" + 32 * "1"))
    assert (finding.code, finding.is_fault) == ("breaks_trace", False)


def test_an_event_that_comes_only_with_the_next_one_was_held() -> None:
    seen = replace(FINE, idle=replace(IDLE, times=((0.0, 110.2), (60.2, 110.2))))
    assert codes(seen) == {"buffers"}


@given(st.lists(st.floats(0, 0.4), min_size=11, max_size=11), st.floats(-1e6, 1e6))
def test_a_way_that_is_merely_uneven_or_far_away_is_no_fault(
    lags: list[float], distance: float
) -> None:
    times = tuple((at, distance + at + lag) for at, lag in zip(SENT, lags, strict=True))
    assert codes(plain(times=times)) == set()


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (plain(headers={**HEADERS, "content-encoding": "gzip"}), "compresses"),
        (
            replace(
                FINE, compressible=replace(GOOD, headers={**HEADERS, "content-encoding": "br"})
            ),
            "compresses",
        ),
        (replace(FINE, idle=replace(IDLE, broke_after=30.0)), "cuts_idle"),
        (plain(broke_after=1.0), "cuts"),
        (plain(hello={**HELLO, "version": "1.0"}), "http_1_0"),
        (plain(version="1.0"), "http_1_0"),
        (saw(last_event_id=""), "drops_last_event_id"),
        (saw(accept="*/*"), "strips_request_header"),
        (
            plain(hello={**HELLO, "saw": {k: v for k, v in SAW.items() if k != "origin"}}),
            "strips_request_header",
        ),
        (replace(FINE, bearer=replace(GOOD, status=401)), "strips_request_header"),
        (replace(FINE, bearer=replace(GOOD, status=403)), "strips_request_header"),
        (replace(FINE, refused=replace(GOOD, status=401)), "strips_query"),
        (
            plain(headers={k: v for k, v in HEADERS.items() if k != "transfer-encoding"}),
            "unframed",
        ),
        (plain(headers={**HEADERS, "content-type": "text/plain"}), "rewrites_response_header"),
        (plain(headers={**HEADERS, "cache-control": "max-age=60"}), "rewrites_response_header"),
        (plain(hello={**HELLO, "is_front_trusted": False}), "untrusted_front"),
        (plain(hello={**HELLO, "addresses": 2, "is_first": False}), "untrusted_front"),
        (plain(hello={**HELLO, "addresses": 0, "is_first": False}), "no_client_address"),
    ],
)
def test_a_fault_is_found_by_its_sign_alone(seen: Observation, code: str) -> None:
    assert codes(seen) == {code}


@pytest.mark.parametrize("alpn", [None, "http/1.1"])
def test_six_connections_are_reported_and_are_no_fault(alpn: str | None) -> None:
    [finding] = findings(replace(FINE, alpn=alpn))
    assert (finding.code, finding.is_fault) == ("six_connections", False)
    assert "Streams come through." in in_words(FINE, [finding])


def test_without_a_proxy_in_front_there_is_no_address_to_report() -> None:
    direct = {**HEADERS, "server": "gateway"}
    seen = plain(headers=direct, hello={**HELLO, "addresses": 0, "is_first": False})
    assert codes(seen) == set()
    assert hop(seen) == ""
