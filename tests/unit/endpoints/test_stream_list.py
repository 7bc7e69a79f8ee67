"""Live streams are filtered, sorted and cut by a query. A bad query gets the allowed values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.endpoints.stream_list import LIMIT, MOST, SORTS, STATES, QueryError, StreamList
from gateway.telemetry.report import Condition, LiveStream


def stream(  # noqa: PLR0913 - a stream with what a test sorts by
    name: str,
    age: float = 1.0,
    *,
    route: str = "/a",
    sent: int = 0,
    events: int | None = None,
    state: Condition = "streaming",
) -> LiveStream:
    return LiveStream(name, route, "GET", "ann", "::1", "u", age, 0, sent, events, None, state, 0)


STREAMS = [
    stream("1", 5, sent=10, events=2),
    stream("2", 9, route="/b", sent=30),
    stream("3", 7, sent=20, events=5, state="backpressure"),
]


def names(*query: tuple[str, str]) -> list[str]:
    answer: Any = StreamList.of(query).answer(STREAMS)
    return [each["id"] for each in answer["streams"]]


def test_without_a_query_all_are_listed_the_oldest_first() -> None:
    assert names() == ["2", "3", "1"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [("bytes", "231"), ("events", "312"), ("route", "132"), ("state", "312"), ("silence", "123")],
)
def test_numbers_go_down_names_go_up_and_what_is_unknown_is_last(sort: str, order: str) -> None:
    assert "".join(names(("sort", sort))) == order


def test_filters_are_all_to_be_met() -> None:
    assert names(("route", "/a")) == ["3", "1"]
    assert names(("route", "/a"), ("state", "streaming")) == ["1"]
    assert names(("subject", "an")) == []


def test_past_the_limit_they_are_counted_and_not_listed() -> None:
    answer: Any = StreamList.of([("limit", "1")]).answer(STREAMS)
    assert (answer["count"], [each["id"] for each in answer["streams"]]) == (3, ["2"])


@pytest.mark.parametrize(
    ("query", "reported"),
    [
        ([("colour", "red")], "there are route, subject, state, sort, limit"),
        ([("sort", "colour")], "age, bytes"),
        ([("state", "")], "waiting, streaming, backpressure, flushing"),
        ([("limit", "-1")], f"0 to {MOST}"),
        ([("limit", "1_0")], f"0 to {MOST}"),
        ([("limit", str(MOST + 1))], f"0 to {MOST}"),
        ([("limit", "\u0663")], f"0 to {MOST}"),
        ([("route", "/a"), ("route", "/b")], "once"),
    ],
)
def test_a_bad_query_gets_what_is_allowed(query: list[tuple[str, str]], reported: str) -> None:
    with pytest.raises(QueryError, match=reported):
        StreamList.of(query)


KEYS = st.sampled_from(["route", "subject", "state", "sort", "limit"]) | st.text()
VALUES = st.sampled_from([*SORTS, *STATES, "7"]) | st.text()


@given(st.lists(st.tuples(KEYS, VALUES)))
def test_whatever_a_query_says_it_is_answered_or_refused(query: list[tuple[str, str]]) -> None:
    try:
        listing = StreamList.of(query)
    except QueryError:
        return
    assert listing.sort in SORTS
    assert 0 <= listing.limit <= max(LIMIT, MOST)
    listing.answer(STREAMS)
